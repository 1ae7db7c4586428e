package measure

import (
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// Pin binds all threads of this process, and those it starts later, to one core, and says what it did.
func Pin(core int) string {
	core %= runtime.NumCPU()
	var set unix.CPUSet
	set.Set(core)
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return "not bound to a core: " + err.Error()
	}
	for _, task := range tasks {
		id, err := strconv.Atoi(task.Name())
		if err != nil {
			continue
		}
		if err := unix.SchedSetaffinity(id, &set); err != nil {
			return "not bound to a core: " + err.Error()
		}
	}
	return fmt.Sprintf("bound to core %d", core)
}
