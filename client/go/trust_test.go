package memgov

import "testing"

// A service of user 1000 on the host, and who listens is user `uid`.
func listenerAs(uid uint32, change func(*listener)) error {
	l := listener{uid: uid, pid: 42, own: [3]uint32{1000, 1000, 1000}, overflow: defaultOverflowUID,
		allMapped: true, overflowMapped: true, directoryKnown: true, directoryMode: 0o755}
	if change != nil {
		change(&l)
	}
	return l.objection()
}

func TestWhomAProcessObeys(t *testing.T) {
	const nobody = defaultOverflowUID
	// In a container with a user namespace of its own, where the host's root has no number.
	inside := func(change func(*listener)) func(*listener) {
		return func(l *listener) {
			l.allMapped, l.overflowMapped, l.directoryUID = false, false, nobody
			if change != nil {
				change(l)
			}
		}
	}
	for name, c := range map[string]struct {
		uid    uint32
		change func(*listener)
		obeyed bool
	}{
		"root":                                 {0, nil, true},
		"our own user":                         {1000, nil, true},
		"another user":                         {1001, nil, false},
		"... who owns the directory":           {1001, func(l *listener) { l.directoryUID = 1001 }, false},
		"our user, of a set-user-ID program":   {1000, func(l *listener) { l.own[0] = 1001 }, false},
		"our user, of root that may come back": {1000, func(l *listener) { l.own[2] = 0 }, false},
		"nobody":                               {nobody, nil, false},
		"nobody, of another pid namespace":     {nobody, func(l *listener) { l.pid = 0 }, false},
		"from outside":                         {nobody, inside(nil), true},
		"from outside, a directory of ours":    {nobody, inside(func(l *listener) { l.directoryUID = 1000 }), true},
		"from outside, a directory of another": {nobody, inside(func(l *listener) { l.directoryUID = 7 }), false},
		"from outside, others may write":       {nobody, inside(func(l *listener) { l.directoryMode = 0o1777 }), false},
		"from outside, an unknown directory":   {nobody, inside(func(l *listener) { l.directoryKnown = false }), false},
		"a nobody of the inside, perhaps":      {nobody, inside(func(l *listener) { l.overflowMapped = true }), false},
		"... that is not seen inside":          {nobody, inside(func(l *listener) { l.overflowMapped, l.pid = true, 0 }), true},
	} {
		t.Run(name, func(t *testing.T) {
			if err := listenerAs(c.uid, c.change); (err == nil) != c.obeyed || err != nil && !isRefusal(err) {
				t.Error(err)
			}
		})
	}
}

func TestWhatTheMapOfANamespaceSays(t *testing.T) {
	for text, want := range map[string][2]bool{
		"         0          0 4294967295\n":                                   {true, true},
		"         0       1000          1\n         1     100000      65536\n": {false, true},
		"         0       1000          1\n":                                   {false, false},
		"         0     100000      65534\n":                                   {false, false},
		"":                                                                     {}, "nonsense": {},
	} {
		if all, mapped := readUIDMap(text, defaultOverflowUID); [2]bool{all, mapped} != want {
			t.Errorf("%q: %v %v", text, all, mapped)
		}
	}
}
