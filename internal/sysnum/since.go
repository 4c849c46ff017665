package sysnum

// A release is a release of Linux, such as 5.10.
type release struct{ major, minor int }

// since are the releases that brought the calls newer than Linux 3.2, the
// oldest kernel that Go runs on, each with the first architecture that had the
// call: some were wired up elsewhere only later. Names, source: the kernel's
// syscall tables and syscalls(2).
var since = map[string]release{
	"kcmp":              {3, 5},
	"finit_module":      {3, 8},
	"sched_setattr":     {3, 14},
	"sched_getattr":     {3, 14},
	"renameat2":         {3, 15},
	"seccomp":           {3, 17},
	"getrandom":         {3, 17},
	"memfd_create":      {3, 17},
	"kexec_file_load":   {3, 17},
	"bpf":               {3, 18},
	"execveat":          {3, 19},
	"userfaultfd":       {4, 3},
	"membarrier":        {4, 3},
	"mlock2":            {4, 4},
	"copy_file_range":   {4, 5},
	"preadv2":           {4, 6},
	"pwritev2":          {4, 6},
	"pkey_mprotect":     {4, 9},
	"pkey_alloc":        {4, 9},
	"pkey_free":         {4, 9},
	"statx":             {4, 11},
	"io_pgetevents":     {4, 18},
	"rseq":              {4, 18},
	"pidfd_send_signal": {5, 1},
	"io_uring_setup":    {5, 1},
	"io_uring_enter":    {5, 1},
	"io_uring_register": {5, 1},

	// The calls with 64-bit times of 32-bit architectures.
	"clock_gettime64":              {5, 1},
	"clock_settime64":              {5, 1},
	"clock_adjtime64":              {5, 1},
	"clock_getres_time64":          {5, 1},
	"clock_nanosleep_time64":       {5, 1},
	"timer_gettime64":              {5, 1},
	"timer_settime64":              {5, 1},
	"timerfd_gettime64":            {5, 1},
	"timerfd_settime64":            {5, 1},
	"utimensat_time64":             {5, 1},
	"pselect6_time64":              {5, 1},
	"ppoll_time64":                 {5, 1},
	"io_pgetevents_time64":         {5, 1},
	"recvmmsg_time64":              {5, 1},
	"mq_timedsend_time64":          {5, 1},
	"mq_timedreceive_time64":       {5, 1},
	"semtimedop_time64":            {5, 1},
	"rt_sigtimedwait_time64":       {5, 1},
	"futex_time64":                 {5, 1},
	"sched_rr_get_interval_time64": {5, 1},

	"open_tree":               {5, 2},
	"move_mount":              {5, 2},
	"fsopen":                  {5, 2},
	"fsconfig":                {5, 2},
	"fsmount":                 {5, 2},
	"fspick":                  {5, 2},
	"pidfd_open":              {5, 3},
	"clone3":                  {5, 3},
	"openat2":                 {5, 6},
	"pidfd_getfd":             {5, 6},
	"faccessat2":              {5, 8},
	"close_range":             {5, 9},
	"process_madvise":         {5, 10},
	"epoll_pwait2":            {5, 11},
	"mount_setattr":           {5, 12},
	"landlock_create_ruleset": {5, 13},
	"landlock_add_rule":       {5, 13},
	"landlock_restrict_self":  {5, 13},
	"quotactl_fd":             {5, 14},
	"memfd_secret":            {5, 14},
	"process_mrelease":        {5, 15},
	"futex_waitv":             {5, 16},
	"set_mempolicy_home_node": {5, 17},
	"riscv_hwprobe":           {6, 4},
	"cachestat":               {6, 5},
	"fchmodat2":               {6, 6},
	"map_shadow_stack":        {6, 6},
	"futex_wake":              {6, 7},
	"futex_wait":              {6, 7},
	"futex_requeue":           {6, 7},
	"statmount":               {6, 8},
	"listmount":               {6, 8},
	"lsm_get_self_attr":       {6, 8},
	"lsm_set_self_attr":       {6, 8},
	"lsm_list_modules":        {6, 8},
	"mseal":                   {6, 10},
	"uretprobe":               {6, 11},
	"setxattrat":              {6, 13},
	"getxattrat":              {6, 13},
	"listxattrat":             {6, 13},
	"removexattrat":           {6, 13},
	"open_tree_attr":          {6, 15},
	"file_getattr":            {6, 17},
	"file_setattr":            {6, 17},
}

// Since is the release of Linux that brought a system call. ok is false for
// calls that every kernel Go runs on has, and for those whose release is not
// known.
func Since(name string) (major, minor int, ok bool) {
	r, ok := since[name]
	return r.major, r.minor, ok
}
