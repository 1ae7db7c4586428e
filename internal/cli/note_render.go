package cli

import "github.com/spf13/cobra"

func newNoteRenderCommand() *cobra.Command { return &cobra.Command{Use: "render"} }
