package cli

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/internal/change"
	"github.com/demarc-dev/demarc/internal/recorder"
)

// changeConfigSchema names the form of what demarc change config prints with --json.
const changeConfigSchema = "demarc.change.config/1"

func newChangeConfigCommand() *cobra.Command {
	f := &changeRun{}
	var c change.ConfigOptions
	var yes bool
	cmd := &cobra.Command{
		Use:   "config [RECORD]",
		Short: "Compare what must be equal on staging and production",
		Long: "Compares what the record lists under config: files, variables, what commands print (versions), settings of the live Redis, and the\n" +
			"lifetimes of its keys. Secrets are compared by the project's keyed hash and never shown. --copy copies what is no secret, after the\n" +
			"difference was shown and the question answered: from production to staging, or with --to production the other way.\n\n" +
			"Exit code 10: something differs; 11: too little is known (too few keys in a Redis).",
		Example: "  demarc change config article-list\n" +
			"  demarc change config article-list --copy CACHE_TTL --copy conduit/settings.py\n" +
			"  demarc change config article-list --copy 'redis maxmemory-policy' --to production --yes",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeRecords,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkEnvironment(cmd, c.To); err != nil {
				return err
			}
			record, err := recordArg(cmd, args)
			if err != nil {
				return err
			}
			if c.Hash, err = projectHash(cmd, f.dir); err != nil {
				return err
			}
			c.Confirm = func(string) (bool, error) { return true, nil }
			if !yes {
				c.Confirm = func(question string) (bool, error) { return confirm(cmd, question) }
			}
			run, settings, err := change.CompareConfig(cmd.Context(), record, f.options(cmd), c)
			if !f.json {
				change.PrintSettings(cmd.OutOrStdout(), settings)
				return named(cmd, err)
			}
			if run != nil {
				if jerr := writeJSON(cmd.OutOrStdout(), struct {
					Schema   string           `json:"schema"`
					Record   string           `json:"record"`
					Run      string           `json:"run"`
					State    string           `json:"state"`
					Settings []change.Setting `json:"settings"`
				}{changeConfigSchema, record.Path(), run.ID, run.State, settings}); jerr != nil {
					return named(cmd, jerr)
				}
			}
			return named(cmd, err)
		},
	}
	f.add(cmd)
	cmd.Flags().Lookup("json").Usage = "print the comparison as JSON (" + changeConfigSchema + ")"
	cmd.Flags().StringArrayVar(&c.Copy, "copy", nil, "copy this `setting` (may be repeated)")
	cmd.Flags().StringVar(&c.To, "to", "staging", "`environment` to copy to: staging or production")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "copy without asking")
	return cmd
}

// projectHash returns the keyed hash of the project whose state lies in dir; the key is drawn where there is none.
func projectHash(cmd *cobra.Command, dir string) (func(string) string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	key := filepath.Join(dir, "key")
	if err := recorder.KeyFile(cmd.CommandPath(), key); err != nil {
		return nil, err
	}
	hash, err := recorder.Hasher(key)
	if err != nil {
		return nil, err
	}
	return func(text string) string { return fmt.Sprintf("%016x", uint64(hash(text))) }, nil
}

// confirm asks on the terminal. Where nobody can answer, the answer is an error that names --yes.
func confirm(cmd *cobra.Command, question string) (bool, error) {
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !onTerminal(in) {
		err := usageError(cmd, "cannot ask whether to "+strings.TrimSuffix(question, "?")+": standard input is no terminal")
		err.Try = cmd.CommandPath() + " … --yes"
		return false, err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s [y/N] ", question)
	line, err := bufio.NewReader(io.LimitReader(in, 100)).ReadString('\n')
	if err != nil && err != io.EOF {
		return false, err
	}
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes", nil
}
