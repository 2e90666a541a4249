package dash

import (
	"fmt"
	"strings"
)

// snippets are what to paste so that a first agent asks for something. Each
// makes its key on the spot; the key never comes here.
func (s *Server) snippets(connection string, account *AccountRef) []Snippet {
	if connection == "" {
		return nil
	}
	repo := "OWNER/REPOSITORY"
	if account != nil && account.Sandbox {
		repo = "octo/api"
	}
	owner, name, _ := strings.Cut(repo, "/")
	setUp := func(agent string) string {
		return fmt.Sprintf(`valetkey login
valetkey agent add %[1]s --new-key ~/.config/valetkey/%[1]s.key
valetkey grant add %[1]s %[2]s --operation 'github.issues.*' --resource %[3]s`, agent, connection, repo)
	}
	ask := func(agent string) string {
		return fmt.Sprintf(`valetkey call github.issues.create_comment --client-id %[1]s --key ~/.config/valetkey/%[1]s.key \
  -f owner=%[2]s -f repo=%[3]s -F number=1 -f body='Hello from a valet.'`, agent, owner, name)
	}
	return []Snippet{
		{ID: "claude", Title: "Claude Code", Note: "Makes a key, registers it, grants it the issues of one repository, and tells Claude Code how to ask.",
			Code: setUp("claude-code") + `
cat >> CLAUDE.md <<'END'
For GitHub, do not use gh or a token. Run: valetkey call OPERATION --await \
  --client-id claude-code --key ~/.config/valetkey/claude-code.key -f NAME=VALUE
Low risk (reads, and small writes such as labels and branches) is answered at
once; the rest waits until a person approves it.
END`},
		{ID: "langgraph", Title: "LangGraph", Note: "A tool that any Python agent can hold.",
			Code: setUp("langgraph") + `
cat > valet.py <<'END'
import os, subprocess
from langchain_core.tools import tool

@tool
def comment(owner: str, repo: str, number: int, body: str) -> str:
    """Comment on a GitHub issue. A person approves it first."""
    return subprocess.run(
        ["valetkey", "call", "github.issues.create_comment", "--await",
         "--client-id", "langgraph", "--key", os.path.expanduser("~/.config/valetkey/langgraph.key"),
         "-f", f"owner={owner}", "-f", f"repo={repo}", "-F", f"number={number}", "-f", f"body={body}"],
        capture_output=True, text=True).stdout
END`},
		{ID: "shell", Title: "cron or a shell", Note: "Low risk passes; the comment waits here until you answer.",
			Code: setUp("nightly") + "\n" + ask("nightly")},
	}
}
