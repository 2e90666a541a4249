package peers_test

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

func TestScratch(t *testing.T) {
	needNode(t)
	binary := build(t)
	b := startBrowser(t)
	s := startServer(t, binary, freePort(t), "http")
	enrol(t, s, b)
	cmd := exec.Command(binary, "--data", s.data(), "login", "--server", s.url)
	cmd.Env = s.env()
	p := start(t, "login", cmd)
	p.says(t, "/device")
	t.Log(p.out.String())
	u := regexp.MustCompile(`http://\S+/device\S*`).FindString(p.out.String())
	b.visit(u)
	b.click(`button[value="approve"]`)
	<-p.done
	t.Log(p.out.String())
	for _, a := range [][]string{{"agent", "add", "nightly", "--new-key", filepath.Join(s.dir, "n.key")}} {
		t.Logf("%+v", run(t, nil, s.env(), binary, append([]string{"--data", s.data()}, a...)...))
		t.Logf("%+v", run(t, nil, s.env(), binary, append([]string{"--server", s.url}, a...)...))
	}
}
