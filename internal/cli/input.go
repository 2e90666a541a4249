package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/valetkey/valetkey/internal/config"
	"github.com/valetkey/valetkey/secret"
)

// readInput reads a file, or standard input for "-".
func (r *run) readInput(path string, most int64) ([]byte, error) {
	var src io.Reader = r.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil, usage("Check the name.", "There is no file %s.", path)
			}
			return nil, usage("Check its permissions.", "%s cannot be read.", path)
		}
		defer f.Close()
		src = f
	}
	raw, err := io.ReadAll(io.LimitReader(src, most+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(raw)) > most {
		return nil, usage("Is it the right file?", "%s has more than %d bytes.", path, most)
	}
	return raw, nil
}

// readSecret reads a secret from standard input, or from a file that only its
// owner may read. Arguments are seen by everybody on the machine, and kept in
// histories.
func (r *run) readSecret(stdin bool, file string) (secret.Text, error) {
	if !stdin {
		return config.ReadSecret(file)
	}
	if f, ok := r.in.(*os.File); ok && isTerminal(f) {
		r.note("Paste it and press Enter; it is shown as you type. Better pipe it: a history keeps what a screen shows.")
	}
	raw, err := r.readInput("-", 64<<10)
	if err != nil {
		return secret.Text{}, err
	}
	s := strings.TrimRight(string(raw), "\r\n")
	if s == "" {
		return secret.Text{}, usage("Pipe the token: … | valetkey connection add github --token-stdin", "Standard input is empty.")
	}
	return secret.New(s), nil
}
