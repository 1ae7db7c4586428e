package change

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// scriptEnds are the ends of file names that belong to a command wherever they are named in it: what it does depends on
// their content. Data that a command reads or writes does not.
var scriptEnds = []string{".sh", ".py", ".sql", ".mk", ".yaml", ".yml", ".toml", ".patch", "Makefile", "Dockerfile"}

// maxScript is the greatest size of a file that is taken for a script, in bytes.
const maxScript = 1 << 20

// fingerprints tells the commands of an environment from others: by name, the hash of the command as it stands in the
// record, and, as "name file", the hash of every script that it names. The variables of the environment itself are left
// out, because in them staging and production are meant to differ.
func fingerprints(record *Record, environment string) map[string]string {
	found := map[string]string{}
	for _, name := range CommandNames {
		c := record.Commands.Get(name)
		if e := record.Environments.Get(environment); e != nil {
			if own := e.Commands.Get(name); own != nil {
				c = own
			}
		}
		if c == nil {
			continue
		}
		plain := *c
		plain.Timeout = "" // how long it may take does not change what it does
		type bare Command
		text, err := json.Marshal(bare(plain)) // maps come sorted
		if err != nil {
			continue // cannot be: strings and maps of them
		}
		found[name] = digest(text)
		for _, script := range scripts(c) {
			if data, err := readBounded(filepath.Join(c.Dir, script), maxScript); err == nil {
				found[name+" "+script] = digest(data)
			}
		}
	}
	return found
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

// scripts returns the files named in a command that it executes or reads as its instructions.
func scripts(c *Command) []string {
	words := strings.FieldsFunc(c.Run, func(r rune) bool { return strings.ContainsRune(" \t\r\n;&|()<>'\"=`", r) })
	var found []string
	for _, w := range words {
		info, err := os.Stat(filepath.Join(c.Dir, w))
		if filepath.IsAbs(w) || err != nil || !info.Mode().IsRegular() || slices.Contains(found, w) {
			continue
		}
		if info.Mode().Perm()&0o111 != 0 || slices.ContainsFunc(scriptEnds, func(end string) bool { return strings.HasSuffix(w, end) }) {
			found = append(found, w)
		}
	}
	return found
}

// differing returns the names in which two sets of fingerprints differ, of the commands named and their scripts, sorted.
func differing(a, b map[string]string, commands ...string) []string {
	var names []string
	for _, m := range []map[string]string{a, b} {
		for name := range m {
			of, _, _ := strings.Cut(name, " ")
			if slices.Contains(commands, of) && a[name] != b[name] && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}
