package dash

import (
	"fmt"
	"strings"

	"github.com/valetkey/valetkey/internal/config"
)

// keysIn is where the snippets keep agents' keys: with the person who runs the
// agents, and not in the server's own directory, which no agent has to read.
const keysIn = "~/.config/valetkey-agents/"

// snippets are what to paste so that a first agent asks for something. Each
// makes its key on the spot; the key never comes here. The steps are joined by
// &&, so that none is taken after one that did not work.
func (s *Server) snippets(connection string, account *AccountRef) []Snippet {
	if connection == "" {
		return nil
	}
	repo := "OWNER/REPOSITORY"
	if account != nil && account.Sandbox {
		repo = "octo/api"
	}
	owner, name, _ := strings.Cut(repo, "/")
	program, to := s.program(), s.elsewhere()
	from, far := "", ""
	if !config.Loopback(s.base.Hostname()) {
		from = " --from ADDRESS/32"
		far = " ADDRESS is the one that the agent calls from."
	}
	setUp := func(agent string) string {
		return fmt.Sprintf(`%[1]s login%[2]s &&
%[1]s agent add %[3]s --new-key %[4]s%[3]s.key%[5]s%[2]s &&
%[1]s grant add %[3]s %[6]s --operation 'github.issues.*' --resource %[7]s%[2]s`, program, to, agent, keysIn, from, quoted(connection), repo)
	}
	call := func(agent string) string {
		return fmt.Sprintf(`--client-id %s --key %s%s.key%s`, agent, keysIn, agent, to)
	}
	return []Snippet{
		{ID: "claude", Title: "Claude Code", Note: "Makes a key, registers it, grants it the issues of one repository, and tells Claude Code how to ask. Run it in the project's directory." + far,
			Code: setUp("claude-code") + fmt.Sprintf(` &&
cat >> CLAUDE.md <<'END'
For GitHub, do not use gh or a token. Run: %s call OPERATION --await \
  %s -f NAME=VALUE
Low risk (reads, and small writes such as labels and branches) is answered at
once; the rest waits until a person approves it.
END`, program, call("claude-code"))},
		{ID: "langgraph", Title: "LangGraph", Note: "A tool that any Python agent can hold, in the file valet.py." + far,
			Code: setUp("langgraph") + fmt.Sprintf(` &&
cat > valet.py <<'END'
import os, shlex, subprocess
from langchain_core.tools import tool

CALL = """%s call github.issues.create_comment --await
  %s"""

@tool
def comment(owner: str, repo: str, number: int, body: str) -> str:
    """Comment on a GitHub issue. A person approves it first."""
    command = [os.path.expanduser(word) for word in shlex.split(CALL)]
    return subprocess.run(
        command + ["-f", f"owner={owner}", "-f", f"repo={repo}", "-F", f"number={number}", "-f", f"body={body}"],
        capture_output=True, text=True).stdout
END`, program, call("langgraph"))},
		{ID: "shell", Title: "cron or a shell", Note: "Low risk passes; the comment waits here until you answer." + far,
			Code: setUp("nightly") + " &&\n" + s.example(call("nightly"), owner, name)},
	}
}

// example is a call that waits for a person by the rules that ship.
func (s *Server) example(as, owner, repo string) string {
	return fmt.Sprintf(`%s call github.issues.create_comment %s \
  -f owner=%s -f repo=%s -F number=1 -f body='Hello from a valet.'`, s.program(), as, owner, repo)
}
