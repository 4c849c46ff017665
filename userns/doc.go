// Package userns answers "capable towards what?": which user namespace the
// task is in, which one owns its other namespaces, how ids are mapped, and
// whether a capability counts where the kernel asks for it
// (kernel/capability.c:ns_capable, security/commoncap.c:cap_capable).
package userns
