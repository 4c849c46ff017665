// Package container knows where a process runs: in a container of docker,
// podman, containerd, CRI-O, Kubernetes or LXC, under a unit of systemd, in a
// sandbox, or on the plain host. It tells by what the kernel shows of the
// process (its control groups, its mounts), then by marker files, and last by
// its environment, which is a weak sign: anybody sets variables.
package container
