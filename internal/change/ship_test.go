package change

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/internal/fault"
)

// rehearsed is a folder with the service whose change was rehearsed.
func rehearsed(t *testing.T, text string) *Record {
	t.Helper()
	record := folder(t, text)
	o, talk := options("demarc change rehearse")
	if _, err := Rehearse(t.Context(), record, o); err != nil && fault.ExitCode(err) != fault.ExitTooFew {
		t.Fatalf("%s\n%s", fault.Text(err), talk)
	}
	return record
}

// shipOptions are those of a ship without a capture: its watch answers the checks once.
func shipOptions() (Options, ShipOptions, *bytes.Buffer) {
	o, talk := options("demarc change ship")
	return o, ShipOptions{Watch: time.Second,
		Watcher: func(ctx context.Context, q WatchRequest) (WatchResult, error) {
			results, err := runChecks(ctx, q.CheckRequest)
			return WatchResult{Checks: results}, err
		}}, talk
}

func TestShip(t *testing.T) {
	record := rehearsed(t, fileService)
	o, s, talk := shipOptions()
	run, err := Ship(t.Context(), record, o, s)
	if err != nil {
		t.Fatalf("%s\n%s", fault.Text(err), talk)
	}
	const want = "backup=passed deploy=passed health=passed mark=skipped watch=passed note=skipped"
	if run.State != StatePassed || states(run) != want || read(t, "version") != "v2\n" {
		t.Errorf("%s: %s, version %s", run.State, states(run), read(t, "version"))
	}
	if !strings.Contains(talk.String(), "take back: demarc change rollback 2026-11-22-it") {
		t.Errorf("the way back is not named:\n%s", talk)
	}
	backups, _ := filepath.Glob(".demarc/changes/*/backups/*")
	if len(backups) != 1 || read(t, backups[0]) != "v1\n" {
		t.Errorf("the backup of production is not kept: %q", backups)
	}
	runs, err := record.Runs()
	if err != nil || record.Status(runs).State != Watched {
		t.Errorf("%v, %v", record.Status(runs), err)
	}

	// The rollback is given that backup.
	write(t, "changes/2026-11-22-it.yaml", strings.Replace(fileService, "./deploy.sh v1", `cp "$DEMARC_BACKUP" version`, 1), 0o644)
	o.Op = "demarc change rollback"
	back, err := Rollback(t.Context(), loaded(t), production, o)
	if err != nil || back.State != StatePassed || read(t, "version") != "v1\n" {
		t.Errorf("%v, %+v, version %s", err, back, read(t, "version"))
	}
}

// What was not rehearsed in this form is not shipped, unless it is said, and then loudly.
func TestShipRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		before func(t *testing.T)
		why    []string
	}{
		"nothing rehearsed": {func(t *testing.T) {
			if err := os.RemoveAll("changes/2026-11-22-it"); err != nil {
				t.Fatal(err)
			}
		}, []string{"nothing of it was rehearsed"}},
		"another deploy": {func(t *testing.T) {
			write(t, "changes/2026-11-22-it.yaml", strings.Replace(fileService, "deploy: ./deploy.sh v2", "deploy: ./deploy.sh v3", 1), 0o644)
		}, []string{"changed since the rehearsal", ": deploy", "rehearsed: ./deploy.sh v2", "now:       ./deploy.sh v3"}},
		"another rollback": {func(t *testing.T) {
			write(t, "changes/2026-11-22-it.yaml", strings.Replace(fileService, "rollback: ./deploy.sh v1", "rollback: ./deploy.sh v0", 1), 0o644)
		}, []string{"changed since the rehearsal", ": rollback", "now:       ./deploy.sh v0"}},
		"another script": {func(t *testing.T) { write(t, "deploy.sh", "#!/bin/sh\necho $1 >version\n", 0o755) },
			[]string{"changed since the rehearsal", "deploy ./deploy.sh", "rollback ./deploy.sh"}},
		"other on production": {func(t *testing.T) {
			write(t, "changes/2026-11-22-it.yaml", fileService+"environments: {production: {commands: {deploy: ./deploy.sh v2 now}}}\n", 0o644)
		}, []string{"not the same on production as rehearsed on staging: deploy", "now:       ./deploy.sh v2 now"}},
		"rehearsal failed": {func(t *testing.T) {
			write(t, "changes/2026-11-22-it.yaml", strings.Replace(fileService, "rollback: ./deploy.sh v1", "rollback: 'false'", 1), 0o644)
			o, _ := options("demarc change rehearse")
			if _, err := Rehearse(t.Context(), loaded(t), o); err == nil {
				t.Fatal("it must fail")
			}
			write(t, "version", "v1\n", 0o644)
		}, []string{"failed: ROLLBACK FAILED: the rollback failed on staging: exit 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			rehearsed(t, fileService)
			c.before(t)
			record := loaded(t)
			o, s, talk := shipOptions()
			run, err := Ship(t.Context(), record, o, s)
			if err == nil || run != nil || fault.ExitCode(err) != fault.ExitFailed {
				t.Fatalf("%v, %+v", err, run)
			}
			for _, why := range c.why {
				if !strings.Contains(fault.Text(err), why) {
					t.Errorf("%q is not in\n%s", why, fault.Text(err))
				}
			}
			if read(t, "version") != "v1\n" {
				t.Errorf("production has %s", read(t, "version"))
			}
			s.Unrehearsed = true
			if _, err = Ship(t.Context(), record, o, s); err != nil || !strings.Contains(talk.String(), "!!  NOT REHEARSED") {
				t.Errorf("unrehearsed: %v\n%s", err, talk)
			}
		})
	}
}

func TestShipRefusesOpenChecklist(t *testing.T) {
	record := rehearsed(t, fileService+"checklist:\n  - {id: lint, item: run linting, run: test -s version}\n  - {id: note, item: write the final note, step: note}\n")
	o, s, talk := shipOptions()
	_, err := Ship(t.Context(), record, o, s)
	if err == nil || !strings.Contains(fault.Text(err), "run linting (lint: open)") || strings.Contains(fault.Text(err), "final note") {
		t.Fatalf("%v", err)
	}
	item := record.Item("lint")
	if _, err := record.Do(t.Context(), item, ItemOptions{Environment: staging, State: o.State, Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	if _, err = Ship(t.Context(), record, o, s); err != nil {
		t.Fatalf("%s\n%s", fault.Text(err), talk)
	}
}

// A ship that fails takes itself back; where the rollback fails too, nothing is louder.
func TestShipFailures(t *testing.T) {
	const onProduction = `if [ "$DEMARC_ENVIRONMENT" = production ]; then exit 7; fi`
	for name, c := range map[string]struct {
		old, new string
		keep     bool
		code     int
		why      string
		version  string
		says     string
	}{
		"deploy": {"deploy: ./deploy.sh v2", "deploy: ./deploy.sh v2; " + onProduction, false, 1,
			"the deploy failed: exit 7; production was rolled back and is healthy", "v1", "rolling production back"},
		"health": {"test -s version, timeout: 20s", `'test "$DEMARC_ENVIRONMENT $DEMARC_STEP" != "production health"', timeout: 1s`, false, 1,
			"not healthy after the deploy: exit 1; production was rolled back", "v1", ""},
		"kept":        {"deploy: ./deploy.sh v2", "deploy: ./deploy.sh v2; " + onProduction, true, 1, "not rolled back, as asked", "v2", "!!  PRODUCTION IS LEFT"},
		"no way back": {"rollback: ./deploy.sh v1", "rollback: " + onProduction + "; ./deploy.sh v1", false, 1, "", "v2", ""},
		"backup":      {`cp version "$DEMARC_BACKUP"`, `if [ "$DEMARC_ENVIRONMENT" = staging ]; then cp version "$DEMARC_BACKUP"; fi`, false, 1, "the backup failed, so nothing was deployed", "v1", ""},
		"watch": {"version: 1\n", "version: 1\nexpected: [\"run: test $DEMARC_STEP != watch\"]\n", false, fault.ExitCheck,
			"run: test $DEMARC_STEP != watch (exit 1", "v2", ""},
		"undecided": {"version: 1\n", "version: 1\nexpected: [p95_ms < 1]\n", false, fault.ExitTooFew, "saw too little", "v2", "could not decide"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(fileService, c.old, c.new, 1)
			record := rehearsed(t, text)
			o, s, talk := shipOptions()
			s.KeepOnFailed = c.keep
			run, err := Ship(t.Context(), record, o, s)
			if name == "no way back" {
				if err != nil {
					t.Fatal(err)
				}
				_, err = Rollback(t.Context(), record, production, o)
				if err == nil || !strings.Contains(talk.String(), "!!  THE ROLLBACK FAILED") || !strings.Contains(talk.String(), "Production is in an unknown state") {
					t.Errorf("%v\n%s", err, talk)
				}
			} else if err == nil || run == nil || fault.ExitCode(err) != c.code || !strings.Contains(err.Error(), c.why) || !strings.Contains(talk.String(), c.says) {
				t.Errorf("%v, %+v\n%s", err, run, talk)
			}
			if got := strings.TrimSpace(read(t, "version")); got != c.version {
				t.Errorf("production has %s", got)
			}
			if p, err := LastProgress(o.State, record.Name()); err != nil || p.Unfinished() {
				t.Errorf("the journal has no end: %v", err)
			}
		})
	}
}

// The way back hangs on nothing that may be broken.
func TestRollbackWithoutAnything(t *testing.T) {
	record := rehearsed(t, fileService)
	o, s, talk := shipOptions()
	if _, err := Ship(t.Context(), record, o, s); err != nil {
		t.Fatal(err)
	}
	p, err := LastProgress(o.State, record.Name())
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(p.Dir, journalFile), "{\"v\":1,\"event\":\"nonsense\"}\n{\"event\":\"run\"}\n", 0o600)
	if _, err := Ship(t.Context(), record, o, s); err == nil || !strings.Contains(fault.Text(err), "demarc change rollback, which does not need it") {
		t.Errorf("a ship over a damaged journal: %v", err)
	}
	runs, _ := filepath.Glob("changes/2026-11-22-it/*-ship-*.yaml")
	write(t, runs[0], "version: [", 0o644)
	if _, err := Rollback(t.Context(), record, production, o); err != nil || read(t, "version") != "v1\n" {
		t.Errorf("%v, production has %s\n%s", err, read(t, "version"), talk)
	}
	if !strings.Contains(talk.String(), "put aside as") {
		t.Errorf("the damaged journal is not mentioned:\n%s", talk)
	}
	if err := os.RemoveAll(".demarc"); err != nil {
		t.Fatal(err)
	}
	write(t, "version", "v2\n", 0o644)
	if _, err := Rollback(t.Context(), record, production, o); err != nil || read(t, "version") != "v1\n" {
		t.Errorf("without any state: %v", err)
	}
}

func TestVerify(t *testing.T) {
	record := rehearsed(t, fileService+"expected: [\"run: grep -q v2 version\"]\n")
	o, s, _ := shipOptions()
	if _, err := Ship(t.Context(), record, o, s); err != nil {
		t.Fatal(err)
	}
	o.Op = "demarc change verify"
	run, held, err := Verify(t.Context(), record, production, time.Time{}, o)
	if err != nil || run.State != StatePassed || len(held) != 1 || held[0].Then == nil || !strings.Contains(held[0].String(), "; passed on 20") {
		t.Errorf("%v, %+v, %v", err, run, held)
	}
	write(t, "changes/2026-11-22-it.yaml", strings.Replace(read(t, record.Path()), "  verify: grep -q v2 version\n", "", 1), 0o644)
	write(t, "version", "v1\n", 0o644)
	run, held, err = Verify(t.Context(), loaded(t), production, time.Time{}, o)
	if fault.ExitCode(err) != fault.ExitCheck || run.State != StateFailed || !strings.Contains(held[0].String(), "failed (exit 1") {
		t.Errorf("%v, %+v, %v", err, run, held)
	}
	runs, err := record.Runs()
	if err != nil || runs[len(runs)-1].Kind != KindVerify || runs[len(runs)-1].State != StateFailed {
		t.Errorf("the run is not among the results: %v", err)
	}
	if _, _, err = Verify(t.Context(), record, production, time.Time{}, o); !strings.Contains(err.Error(), "verify: exit 1") {
		t.Error(err)
	}
}

func TestInterrupted(t *testing.T) {
	record := rehearsed(t, strings.Replace(fileService, "deploy: ./deploy.sh v2", `deploy: ./deploy.sh v2; if [ "$DEMARC_ENVIRONMENT" = production ]; then touch begun; sleep 60; fi`, 1))
	o, s, _ := shipOptions()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for _, err := os.Stat("begun"); err != nil && t.Context().Err() == nil; _, err = os.Stat("begun") {
			time.Sleep(5 * time.Millisecond)
		}
		cancel()
	}()
	if _, err := Ship(ctx, record, o, s); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if p, err := LastProgress(o.State, record.Name()); err != nil || !p.Unfinished() || p.Open != "deploy" {
		t.Fatalf("%+v, %v", p, err)
	}
	if found, err := Unfinished(o.State); err != nil || found[record.Name()] == nil {
		t.Errorf("%v, %v", found, err)
	}
	if _, err := Ship(t.Context(), record, o, s); err == nil || !strings.Contains(err.Error(), "may be half done; production was rolled back") || read(t, "version") != "v1\n" {
		t.Errorf("%v, production has %s", err, read(t, "version"))
	}
}
