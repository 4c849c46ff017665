// Package task holds the facts about who asks: credentials, groups,
// capability sets, no_new_privs and the like of one thread. Credentials belong
// to the thread, not to the process; where the thread asks for itself, raw
// system calls answer, for another task /proc/PID/task/TID/status does.
package task
