package cli

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
)

type receiptCommand struct {
	Get    receiptGet    `cmd:"" help:"Get the receipt of a decided action."`
	Verify receiptVerify `cmd:"" help:"Verify a receipt, offline: who approved exactly what, and what came of it."`
}

type receiptGet struct {
	ID     string `arg:"" help:"Id of the action, or of its approval."`
	Output string `short:"o" placeholder:"FILE" help:"Where to; standard output if left out."`
}

func (c *receiptGet) Run(r *run) error {
	to, err := r.reach()
	if err != nil {
		return err
	}
	res, err := to.send(r.ctx, http.MethodGet, "v1/receipts/"+segment(c.ID), nil, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	doc, err := io.ReadAll(io.LimitReader(res.Body, approval.MaxReceipt+1))
	if err == nil {
		_, err = approval.ParseReceipt(doc)
	}
	if err != nil {
		return &failure{Code: exitFailed, Reason: "receipt_cut", Text: "The receipt did not arrive whole.", Next: "Try again.", Err: err}
	}
	if c.Output == "" {
		r.say("%s", bytes.TrimSpace(doc))
		return nil
	}
	f, err := os.OpenFile(c.Output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return usage("It must not exist yet.", "%s cannot be made.", c.Output)
	}
	defer f.Close()
	if _, err := f.Write(doc); err != nil {
		return fmt.Errorf("write receipt: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("write receipt: %w", err)
	}
	r.note("Wrote %d bytes to %s.", len(doc), c.Output)
	if cp, err := get[api.Checkpoint](r.ctx, to, "v1/admin/checkpoint", nil); err == nil {
		r.note("Verify it anywhere with:\n  %s", pasted("receipt verify", operands{c.Output}, flag("--log-key", cp.Key)...))
	}
	return nil
}

type receiptVerify struct {
	File        string `arg:"" help:"The receipt; - for standard input."`
	LogKey      string `name:"log-key" placeholder:"KEY|FILE" help:"Verifier key of the log, from a place you trust. Without it you learn whether the receipt agrees with itself."`
	Checkpoints string `placeholder:"FILE" help:"Checkpoints that were kept outside of the server."`
}

func (c *receiptVerify) Run(r *run) error {
	doc, err := r.readInput(c.File, approval.MaxReceipt)
	if err != nil {
		return err
	}
	trust, err := c.trust(r)
	if err != nil {
		return err
	}
	receipt, err := approval.ParseReceipt(doc)
	if err != nil {
		return &failure{Code: exitFailed, Reason: "bad_receipt", Text: sentence(err.Error()), Next: "Get it again: valetkey receipt get ID."}
	}
	v := receipt.Verify(trust)
	if r.json {
		if err := r.print(struct {
			OK bool `json:"ok"`
			*approval.Verification
		}{v.OK(), v}); err != nil {
			return err
		}
	} else {
		r.verification(receipt, v)
	}
	if !v.OK() {
		return quiet{exitFailed}
	}
	return nil
}

// trust is what the one who verifies brings along.
func (c *receiptVerify) trust(r *run) (approval.Trust, error) {
	var t approval.Trust
	if c.LogKey == "" {
		if c.Checkpoints != "" {
			return t, usage("Pass --log-key, too: without it nobody knows whose the checkpoints are.", "--checkpoints needs --log-key.")
		}
		return t, nil
	}
	var err error
	if t.Keys, err = verifierOf(r, c.LogKey); err != nil || c.Checkpoints == "" {
		return t, err
	}
	raw, err := r.readInput(c.Checkpoints, 1<<30)
	if err != nil {
		return t, err
	}
	all, err := audit.ReadCheckpoints(bytes.NewReader(raw))
	if err != nil {
		return t, usage("It is the file that the server's --checkpoint-sink names.", "%s has no checkpoints: %v.", c.Checkpoints, err)
	}
	for _, signed := range all {
		cp, err := t.Keys.Parse(signed)
		if err != nil {
			return t, usage("It is the file that the server's --checkpoint-sink names.", "%s has a checkpoint that %s did not sign.", c.Checkpoints, t.Keys.Origin())
		}
		t.Checkpoints = append(t.Checkpoints, cp.Head)
	}
	return t, nil
}

// verification prints the chain, a line each, and what it amounts to.
func (r *run) verification(receipt *approval.Receipt, v *approval.Verification) {
	a := &receipt.Action
	r.say("%s", r.bold(cell(a.Summary, 300)))
	r.say("%s, %s as %s at %s, asked by %s (%s)", a.ID, cell(a.Operation, 100), cell(a.Handle, 100), cell(a.Provider, 60), cell(a.AgentName, 63), a.Agent)
	r.say("")
	for _, l := range v.Links {
		mark := string(l.Strength)
		switch l.Strength {
		case approval.Holds:
			mark = r.green(mark) + "    "
		case approval.Leans:
			mark += "  "
		case approval.Broken:
			mark = r.red(mark)
		}
		lines := wrapped(cell(l.Detail, 600), max(r.width-22, 40))
		if r.width == 0 {
			lines = []string{cell(l.Detail, 600)}
		}
		r.say("%s  %-12s  %s", mark, l.Name, strings.Join(lines, "\n"+strings.Repeat(" ", 22)))
	}
	r.say("")
	switch {
	case !v.OK():
		r.say("%s", r.red("Do not rely on this receipt."))
	case v.Leans():
		r.say("Nothing is broken. What is weak holds as far as the server is believed.")
	default:
		r.say("%s", r.green("Every link holds."))
	}
}
