// Package remedy renders changes as remedies: it alone knows docker, podman,
// Kubernetes, systemd and the host's tools. Commands are argv lists, never
// shell lines; nothing is ever carried out.
package remedy
