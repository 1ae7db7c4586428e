// Command demarc watches a Python web service, shows what it does, and keeps what it saw.
package main

import (
	"os"

	"github.com/demarc-dev/demarc/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
