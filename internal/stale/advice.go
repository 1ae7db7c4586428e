package stale

import "fmt"

// advice says which fix fits, and what it costs.
func advice(s *sum, fam *family) string {
	f := &s.f
	where := ""
	if f.Writer.Code != "" {
		where = " at " + f.Writer.Code
	}
	cost := ""
	switch {
	case fam.live > 1:
		cost = fmt.Sprintf(" Drop single keys: deleting all of %s would cause %d misses at once.", fam.name, fam.live)
	case fam.live == 1:
		cost = " The delete costs one miss."
	}
	del := ""
	if f.Deleter != "" {
		del = " at " + f.Deleter
	}
	switch f.Cause {
	case Forgot:
		return fmt.Sprintf("Drop keys of %s after the commit%s, as other writers do.%s", fam.name, where, cost)
	case Bypass:
		return fmt.Sprintf("This kind of write fires no invalidation%s: drop %s by hand after it, or change rows one by one through the layer that does.%s",
			where, fam.name, cost)
	case External:
		return fmt.Sprintf("Somebody outside the service writes %s: have them drop %s, listen to the database's changes, or give the family a lifetime within its staleness budget.%s",
			f.Writer.Table, fam.name, cost)
	case Dependency:
		return fmt.Sprintf("Also drop %s where %s is written%s: keep an index from each row to the keys that show it, with a lifetime at least theirs.%s",
			fam.name, f.Writer.Table, where, cost)
	case KeyDrift:
		return fmt.Sprintf("The delete%s names another key than the set: build both with one function.%s", del, cost)
	case Order:
		return fmt.Sprintf("Delete after the commit, and soon%s: on the commit's callback, not inside the transaction.%s", del, cost)
	case StaleSet:
		return fmt.Sprintf("A fill in flight overwrote the delete: give the fill a lease or a version that the delete invalidates, or delete once more after the longest fill.%s", cost)
	case Rollback:
		return fmt.Sprintf("Fill the cache after the commit%s, never inside the transaction that writes.", where)
	case Peer:
		return fmt.Sprintf("Each process keeps its own copy of %s: tell all of them on a channel, move it to a shared store, or keep it for no longer than its budget.", fam.name)
	case Lost:
		return fmt.Sprintf("The invalidation%s did not take effect: retry it, or put it into the transaction as an outbox, and give %s a lifetime as a bound.%s", del, fam.name, cost)
	case Index:
		return fmt.Sprintf("The map from the tag to its keys was lost: give it a lifetime at least that of its members and keep it from being evicted, or put a version into the key.%s", cost)
	case Replica:
		return "Read from the primary when filling after a write, or keep the entry short until the replica has caught up."
	case Vary:
		input := "an input"
		if s.first.s.inputName != "" {
			input = s.first.s.inputName
		}
		return fmt.Sprintf("Put %s into the key of %s, and drop what is there now: answers may reach the wrong reader.", input, fam.name)
	case Negative:
		switch s.a.under {
		case Order:
			return fmt.Sprintf("The absence was stored again before the commit of what was created: delete after it, on the commit's callback%s.%s", del, cost)
		case StaleSet:
			return fmt.Sprintf("A fill in flight stored the absence after the delete%s: give the fill a lease or a version that the delete invalidates.%s", del, cost)
		}
		return fmt.Sprintf("Drop the key where the thing is created%s, or keep none, empty and errors only briefly.%s", where, cost)
	case Version:
		return fmt.Sprintf("Put a version of the code's form into the key of %s, or drop the family when deploying: %d misses at once.", fam.name, fam.live)
	case TTL:
		if fam.factor.off() {
			return fmt.Sprintf("The lifetime taken is not the one asked for: look at its unit, clock and zone. Then drop %s where %s is written%s.", fam.name, f.Writer.Table, where)
		}
		if s.first.s.e.ttl == 0 {
			return fmt.Sprintf("Nothing ever drops %s and it has no lifetime: drop it after the commit%s.%s", fam.name, where, cost)
		}
		return fmt.Sprintf("Nothing but its lifetime ends %s: shorten it to the staleness budget, or drop it after the commit%s.%s", fam.name, where, cost)
	case Alias:
		return fmt.Sprintf("A caller changed the cached object: hand out a copy of %s, or store something that cannot be changed.", fam.name)
	case Outer:
		return "A layer above kept the answer: purge it where the service drops its own key, set s-maxage to the budget, and see that ETag covers the body and Vary and private are sent."
	}
	if f.MissingField != "" {
		return "Record " + f.MissingField + " to tell these causes apart."
	}
	return "Watch longer: one more fill tells these causes apart."
}
