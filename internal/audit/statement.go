package audit

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// ErrStatement is the cause of every refusal to believe a signed statement.
var ErrStatement = errors.New("the statement is not signed by a known key of the log")

// statement is the signed text. Its first line has blanks, so that it is no
// checkpoint of any log: names of logs have none.
func statement(kind, origin string, digest [32]byte) string {
	return "valetkey statement: " + kind + "\n" + origin + "\n" + base64.StdEncoding.EncodeToString(digest[:]) + "\n"
}

// Attest signs the digest of a document of some kind ("receipt/v1") with the
// key of the log. It returns the signature line of a note, whose text the
// reader makes anew.
func (s *Signer) Attest(kind string, digest [32]byte) (string, error) {
	text := statement(kind, s.Origin(), digest)
	signed, err := note.Sign(&note.Note{Text: text}, s.signer)
	if err != nil {
		return "", fmt.Errorf("sign a %s: %w", kind, err)
	}
	return strings.TrimSpace(strings.TrimPrefix(string(signed), text)), nil
}

// CheckStatement checks what [Signer.Attest] returned.
func (v *Verifier) CheckStatement(kind string, digest [32]byte, line string) error {
	if len(line) > maxNote || strings.ContainsAny(line, "\r\n") {
		return ErrStatement
	}
	if _, err := note.Open([]byte(statement(kind, v.origin, digest)+"\n"+line+"\n"), v.keys); err != nil {
		return ErrStatement
	}
	return nil
}

// Origin returns the name of the log whose keys v has.
func (v *Verifier) Origin() string { return v.origin }
