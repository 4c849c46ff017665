// Package cgroup knows control groups as far as they refuse: the device
// controller, BPF programs attached to groups, and who may move processes.
package cgroup
