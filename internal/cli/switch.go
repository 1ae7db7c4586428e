package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newOnCommand() *cobra.Command {
	return newSwitchCommand("on", "Switch recording on again in the running service", true)
}

func newOffCommand() *cobra.Command {
	return newSwitchCommand("off", "Switch recording off in the running service, without a restart", false)
}

func newSwitchCommand(name, short string, on bool) *cobra.Command {
	t := &target{}
	cmd := &cobra.Command{
		Use:     name,
		Short:   short,
		GroupID: groupMore,
		Long: short + ".\nThe hooks stay in place and cost next to nothing while recording is off; processes that start later follow, too.\n" +
			"To start a service without the recorder, set DEMARC=off in its environment.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := t.find(cmd.CommandPath())
			if err != nil {
				return err
			}
			d, err := r.Record(on)
			if err != nil {
				return unanswered(cmd.CommandPath(), r.URL, err)
			}
			return t.tell(cmd, d, fmt.Sprintf("recording is %s; processes told: %d", name, d.Processes))
		},
	}
	t.add(cmd)
	return cmd
}
