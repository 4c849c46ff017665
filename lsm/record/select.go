package record

import (
	"slices"
	"time"
)

// maxRecords bounds what is kept.
const maxRecords = 24

// A subject is whom records have to be about.
type subject struct {
	pid     int
	tid     int // Yama names the thread
	comm    string
	foreign bool          // in another pid namespace: records have other numbers
	age     time.Duration // of the process: older records are of another one
}

// clocks tells the ages of entries.
type clocks struct {
	real, mono int64 // now, in milliseconds
	printkLag  int64 // by how much the kernel log's clock lags behind mono, as audit lines in it show
}

// learn compares the two clocks of an audit line in the kernel's log.
func (c *clocks) learn(e entry) {
	if e.stamp == 0 || e.printk == 0 {
		return
	}
	lag := (c.mono - e.printk/1000) - (c.real - e.stamp)
	if drift := 1000 + c.mono/1000; lag > -drift && lag < drift {
		c.printkLag = lag
	}
}

// age is how old an entry is, in milliseconds. The kernel log's clock is not
// set, but drifts from the others; the time of day does not drift, but is set.
func (c *clocks) age(e entry) int64 {
	byPrintk := c.mono - e.printk/1000 - c.printkLag
	byStamp := c.real - e.stamp
	switch {
	case e.stamp == 0:
		return byPrintk
	case e.printk == 0:
		return byStamp
	}
	if drift := 5000 + c.mono/1000; byStamp-byPrintk > drift || byPrintk-byStamp > drift {
		return byPrintk // the clock was set in between
	}
	return byStamp
}

// choose keeps what is about the subject, the newest first.
func choose(entries []entry, about subject, c clocks) []Record {
	for _, e := range entries {
		c.learn(e)
	}
	callers := map[int64]int{} // by the event: the process, of the record of the system call and of the domain
	for _, e := range entries {
		if e.kind == typeSyscall || e.kind == typeLandlockDomain {
			if pid, ok := (Record{Text: e.text}).Int("pid"); ok && pid > 0 && pid < 1<<31 {
				if _, known := callers[e.serial]; !known || e.kind == typeSyscall {
					callers[e.serial] = int(pid)
				}
			}
		}
	}
	var out []Record
	seen := map[string]bool{}
	for _, e := range entries {
		x, ok := e.judge()
		if !ok {
			continue
		}
		if x.PID == 0 && e.kind == typeLandlockAccess {
			x.PID = callers[e.serial]
		}
		x.Age = c.age(e)
		if x.Age < -2000 || x.Age > about.age.Milliseconds() || !about.concerns(&x) {
			continue
		}
		x.Age = max(x.Age, 0)
		if key := x.Text + "\x00" + time.UnixMilli(e.stamp).String(); e.stamp != 0 { // the same record from two logs
			if seen[key] {
				continue
			}
			seen[key] = true
		}
		out = append(out, x)
	}
	slices.SortStableFunc(out, func(a, b Record) int { return int(max(-1, min(1, a.Age-b.Age))) })
	return out[:min(len(out), maxRecords)]
}

// concerns says whether a record may be about the subject, and marks it as Kin
// if that is by name only.
func (s subject) concerns(r *Record) bool {
	if (r.PID == s.pid || r.Module == Yama && r.PID == s.tid) && !s.foreign {
		return true
	}
	switch r.Module {
	case Yama: // its record has no name that is not chosen by the process
		return s.foreign
	case Lockdown:
		_, ok := LockdownReason(*r, s.comm)
		return ok
	case Landlock:
		r.Kin = true
		return true // the process that made the domain may be any ancestor
	}
	r.Kin = r.Field("comm") == s.comm
	return r.Kin
}
