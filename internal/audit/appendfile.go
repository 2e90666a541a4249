package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"sync"
)

// ErrFileChanged means that a file which only we append to shrank, grew or
// was replaced behind our back. Nothing is written to it any more: whoever
// did that has to be found before the file can count as a witness again.
var ErrFileChanged = errors.New("the file shrank, grew or was replaced by someone else")

// maxLine bounds a line of any file read here.
const maxLine = 1 << 20

// appendFile is a file of lines that is only ever appended to; an append has
// reached the disk when it returns. It has one writer.
type appendFile struct {
	path string

	mu   sync.Mutex
	f    *os.File
	size int64 // what we know the file to be; -1 after a write that failed
	torn bool  // the last line may lack its end
}

// openAppendFile opens or creates path and makes its directory entry durable.
func openAppendFile(path string, mode fs.FileMode) (*appendFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, mode)
	if err != nil {
		return nil, err
	}
	a := &appendFile{path: path, f: f}
	err = errors.Join(f.Sync(), syncDir(filepath.Dir(path)))
	if err == nil {
		err = a.look()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return a, nil
}

// syncDir makes a new directory entry durable. Windows has no such call.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// cancel ends a line that a crash tore: CAN, "disregard what came before".
// JSON never holds it raw, so no record can be taken for a cancelled one,
// and a record that was damaged later cannot pass for a torn one.
const cancel = "\x18\n"

// look learns the size and whether the last line is whole. A crash in the
// middle of an append leaves a torn line; the next append cancels it.
func (a *appendFile) look() error {
	info, err := a.f.Stat()
	if err != nil {
		return err
	}
	a.size, a.torn = info.Size(), false
	if a.size > 0 {
		var last [1]byte
		if _, err := a.f.ReadAt(last[:], a.size-1); err != nil {
			return err
		}
		a.torn = last[0] != '\n'
	}
	return nil
}

// unchanged reports ErrFileChanged unless the open file is still what path
// names and has the size that we left it with.
func (a *appendFile) unchanged() error {
	open, err := a.f.Stat()
	if err != nil {
		return err
	}
	named, err := os.Stat(a.path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", a.path, ErrFileChanged)
	}
	if err != nil {
		return err
	}
	if !os.SameFile(open, named) || open.Size() != a.size {
		return fmt.Errorf("%s: %w", a.path, ErrFileChanged)
	}
	return nil
}

// append writes line and its end, and returns when they are on the disk.
func (a *appendFile) append(line []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.size < 0 {
		// How much of the failed write arrived is for the file to say.
		if err := a.look(); err != nil {
			a.size = -1
			return err
		}
	}
	if err := a.unchanged(); err != nil {
		return err
	}
	b := make([]byte, 0, len(cancel)+len(line)+1)
	if a.torn {
		b = append(b, cancel...)
	}
	b = append(append(b, line...), '\n')
	n, err := a.f.Write(b)
	if err == nil {
		err = a.f.Sync()
	}
	if err != nil {
		a.size = -1
		return err
	}
	a.size, a.torn = a.size+int64(n), false
	return nil
}

func (a *appendFile) close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.f.Close()
}

// lines yields the lines of the file as it is, without their ends. A last
// line without an end and cancelled ones are left out: their writing failed,
// and nobody was told that it had succeeded.
func (a *appendFile) lines() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		f, err := os.Open(a.path)
		if err != nil {
			yield(nil, err)
			return
		}
		defer f.Close()
		wholeLines(f)(yield)
	}
}

// wholeLines yields the lines of r that were written whole and not cancelled,
// without their ends.
func wholeLines(r io.Reader) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for line, err := range readLines(r) {
			if err != nil {
				yield(nil, err)
				return
			}
			whole, ended := bytes.CutSuffix(line, []byte("\n"))
			if !ended || bytes.HasSuffix(line, []byte(cancel)) {
				continue
			}
			if !yield(whole, nil) {
				return
			}
		}
	}
}

// readLines yields the lines of r with their ends; the last may have none.
// The slice is valid until the next step.
func readLines(r io.Reader) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		br := bufio.NewReaderSize(r, 64<<10)
		var long []byte
		for {
			part, err := br.ReadSlice('\n')
			if errors.Is(err, bufio.ErrBufferFull) {
				if long = append(long, part...); len(long) > maxLine {
					yield(nil, fmt.Errorf("a line is longer than %d bytes", maxLine))
					return
				}
				continue
			}
			if err != nil && !errors.Is(err, io.EOF) {
				yield(nil, err)
				return
			}
			line := part
			if len(long) > 0 {
				line, long = append(long, part...), nil
			}
			if len(line) > 0 && !yield(line, nil) {
				return
			}
			if err != nil {
				return
			}
		}
	}
}
