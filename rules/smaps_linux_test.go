package rules

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const smapsText = `7f00-7f10 rw-s 00000000 08:01 42                       /tmp/a b (deleted)
Size:                  4 kB
VmFlags: rd wr sh mr mw me ms 
7f10-7f20 r--p 00000000 00:00 0 
VmFlags: rd mr me sl 
7f20-7f30 r--p 00000000 00:00 0                          [heap]
VmFlags: rd mr
`

func TestMappingsIn(t *testing.T) {
	all := mappingsIn(smapsText, 0x7f00, 0x7f30)
	require.Equal(t, []vma{
		{Range: "7f00-7f10", Flags: "rd.wr.sh.mr.mw.me.ms", Path: "/tmp/a b (deleted)"},
		{Range: "7f10-7f20", Flags: "rd.mr.me.sl"},
		{Range: "7f20-7f30", Flags: "rd.mr", Path: "[heap]"},
	}, all)
	require.True(t, all[0].has("sh"))
	require.False(t, all[1].has("m"), "a flag is a whole word")
	require.Equal(t, all[1:2], mappingsIn(smapsText, 0x7f10, 0x7f11))
	require.Empty(t, mappingsIn(smapsText, 0x8000, 0x9000))
	require.Empty(t, mappingsIn("", 0, ^uint64(0)))
}

func FuzzMappingsIn(f *testing.F) {
	f.Add(smapsText, uint64(0), ^uint64(0))
	f.Add("7f00-7f10 a b c  \nVmFlags:", uint64(0), ^uint64(0))
	f.Fuzz(func(t *testing.T, text string, from, to uint64) {
		require.LessOrEqual(t, len(mappingsIn(text, from, to)), maxMappings)
	})
}

func TestParseFdinfo(t *testing.T) {
	f, err := parseFdinfo("pos:\t0\nflags:\t0100002\nmnt_id:\t9\n")
	require.NoError(t, err)
	require.True(t, f.reads() && f.writes())
	for _, bad := range []string{"", "flags:", "flags:\tx\n"} {
		_, err := parseFdinfo(bad)
		require.Error(t, err, "%q", bad)
	}
}
