//go:build !linux

package note

import "os"

// SyncAll brings what was written to a folder to the disk, as far as the system lets it be asked for at once.
func SyncAll(folder string) error {
	f, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
