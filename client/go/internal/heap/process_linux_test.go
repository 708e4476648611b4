package heap

import "testing"

func TestParseStatm(t *testing.T) {
	if got, err := parseStatm("1000 25 10 1 0 30 0\n", 4096); err != nil || got != 25*4096 {
		t.Errorf("got %d, %v", got, err)
	}
	for _, broken := range []string{"", "1000", "1000 x", "1000 -1"} {
		if _, err := parseStatm(broken, 4096); err == nil {
			t.Errorf("%q was taken", broken)
		}
	}
}

func TestResidentIsThisProcess(t *testing.T) {
	if got, err := Resident(); err != nil || got < 1<<20 || got > 1<<40 {
		t.Errorf("got %d, %v", got, err)
	}
}
