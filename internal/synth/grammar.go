package synth

import (
	"strconv"
	"strings"
)

// The texts of notes come from phrases with slots: "{route} reads {table} {n} times". A slot is filled from the note's own
// figures and names, so that a note speaks of one thing throughout.

// slots are the names that may stand in braces, in the order of their numbers.
var slots = []string{"thing", "things", "table", "column", "route", "writer", "key", "cause", "n", "small", "before", "after", "percent", "part", "user",
	"place", "file", "lib", "db", "store", "tool", "ttl", "days", "other"}

// phrase is a text cut at its slots: literal, slot, literal, …, literal.
type phrase struct {
	lit  []string
	slot []uint8
}

func phraseOf(s string) phrase {
	var p phrase
	for {
		lit, rest, ok := strings.Cut(s, "{")
		p.lit = append(p.lit, lit)
		if !ok {
			return p
		}
		name, after, _ := strings.Cut(rest, "}")
		at := -1
		for i, n := range slots {
			if n == name {
				at = i
			}
		}
		if at < 0 {
			panic("synth: no slot " + name)
		}
		p.slot = append(p.slot, uint8(at))
		s = after
	}
}

// phrases reads a list, one phrase a line.
func phrases(text string) []phrase {
	var list []phrase
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			list = append(list, phraseOf(line))
		}
	}
	return list
}

// subject is what one note speaks of: the texts of its slots.
type subject [32]string

func (p *phrase) append(dst []byte, s *subject) []byte {
	for i, lit := range p.lit {
		dst = append(dst, lit...)
		if i < len(p.slot) {
			dst = append(dst, s[p.slot[i]]...)
		}
	}
	return dst
}

func (p *phrase) text(s *subject) string { return string(p.append(nil, s)) }

func slotNumber(name string) int {
	for i, n := range slots {
		if n == name {
			return i
		}
	}
	panic("synth: no slot " + name)
}

// scenario is a kind of service: what it keeps, where, and who works with it.
type scenario struct {
	name   string
	things []string
	users  []string
	places []string
}

var scenarios = []scenario{
	{"web-shop", []string{"product", "basket", "order", "coupon", "price", "shipment", "review", "invoice"},
		[]string{"buyers", "the sales team", "guests", "resellers"}, []string{"the shop window", "the checkout", "the order history"}},
	{"publishing", []string{"article", "tag", "comment", "author", "issue", "image", "feed", "draft"},
		[]string{"readers", "editors", "subscribers", "the news desk"}, []string{"the front page", "the archive", "the editor's desk"}},
	{"booking", []string{"room", "booking", "hotel", "guest", "rate", "season", "seat", "trip"},
		[]string{"travellers", "hosts", "the front desk", "agencies"}, []string{"the search page", "the calendar", "the booking form"}},
	{"learning", []string{"course", "lesson", "student", "answer", "exam", "badge", "lecture", "group"},
		[]string{"students", "teachers", "examiners", "parents"}, []string{"the course list", "the grade book", "the lesson page"}},
	{"logistics", []string{"parcel", "depot", "tour", "driver", "vehicle", "delivery", "label", "claim"},
		[]string{"drivers", "dispatchers", "recipients", "the depot"}, []string{"the tour plan", "the tracking page", "the loading list"}},
	{"banking", []string{"account", "payment", "mandate", "card", "statement", "limit", "transfer", "alert"},
		[]string{"customers", "clerks", "auditors", "merchants"}, []string{"the overview", "the statement page", "the payment form"}},
}

// topic is what a note is about: its titles, and what it says in each part.
type topic struct {
	name       string
	cause      string // of demarc stale; "" where it is about none
	titles     []phrase
	problems   []phrase
	causes     []phrase
	changes    []phrase
	code       phrase
	difficulty string
}

var topics = []topic{
	{name: "stale-reads", cause: "forgot", difficulty: "intermediate",
		titles: phrases(`
			{things} stayed old for {ttl} after {writer}
			The cached {thing} that nobody dropped
			{user} saw an old {thing} on {place}
			Why {key} outlived the write to {table}`),
		problems: phrases(`
			{user} changed a {thing} on {place} and still read the old one {ttl} later.
			After {writer} the cache answered {n} requests with a {thing} that the database no longer held.
			Two readers of one {thing} saw different values of {column}, depending on which process answered.
			Support was told {small} times in {days} days that a change to a {thing} had been lost; it was only late.`),
		causes: phrases(`
			{writer} writes {table} and drops no key of the family {key}; the writer beside it does.
			The delete stood inside the open transaction, so that a reader filled {key} again before the commit.
			The delete named another key than the one that {file} sets.
			A fill that had read before the commit stored its value after the delete.`),
		changes: phrases(`
			{writer} now drops {key} after the commit, in the hook that runs once the database has answered.
			One function in {file} builds the key, for the set and for the delete.
			The set takes a version along, and a fill that is older than the last write does not store.`),
		code: phraseOf("@after_commit\ndef drop_{thing}({thing}_id: int) -> None:\n    cache.delete(\"{thing}:%d\" % {thing}_id)")},
	{name: "query-counts", difficulty: "beginner",
		titles: phrases(`
			{route} asks {table} once for every {other}
			{n} statements for one page of {things}
			Loading {things} of a page with one statement
			The {thing} list reads {table} row by row`),
		problems: phrases(`
			A page of {things} on {place} took {n} statements, one for each {other}.
			{route} spent {percent} of its time waiting for {db}, mostly on the same statement with another parameter.
			The more {things} {user} had, the slower {place} became: each of them cost one more statement.
			p95 of {route} was {before} ms, and {part} of it was one statement that ran {n} times.`),
		causes: phrases(`
			The template reads {thing}.{column}, which {lib} loads when it is first touched: once a row.
			A loop in {file} asks for each {other} by its id, although all ids are known before it.
			The serializer follows the relation to {table} without a join.`),
		changes: phrases(`
			The list is loaded with its {table} in one statement, with selectinload.
			{file} collects the ids first and asks for them with one WHERE IN.
			The relation is joined where the list is built, and the template only reads.`),
		code: phraseOf("stmt = select({thing}).options(selectinload({thing}.{table}))\nrows = session.scalars(stmt).all()")},
	{name: "caching", cause: "ttl", difficulty: "intermediate",
		titles: phrases(`
			A cache before {route}, keyed by {column}
			{route} answered from {store}
			Where a cache belonged: {route}
			Keeping {things} for {ttl} instead of counting them each time`),
		problems: phrases(`
			{route} computed the same {thing} {n} times a minute, and it changed {small} times a day.
			{place} waited {before} ms for a list that was equal for all of {user}.
			{percent} of the time of all requests went into {route}, whose answers were the same in nine of ten cases.`),
		causes: phrases(`
			Nothing kept the answer: each request read {table} anew.
			A cache was there, keyed by the whole address, so that every tracking parameter made a new entry.
			The lifetime of {ttl} was far shorter than the time between two writes.`),
		changes: phrases(`
			The answer is kept in {store} under {key} for {ttl}, and dropped by {writer}.
			Only the parameters that change the answer are part of the key; utm_source is not.
			The entry is tied to {table}: a write gives the table another version, and older entries are no longer found.`),
		code: phraseOf("@cached(ttl=60, key=lambda {thing}_id: \"{thing}:%d\" % {thing}_id)\nasync def show_{thing}({thing}_id: int) -> dict: ...")},
	{name: "indexes", difficulty: "beginner",
		titles: phrases(`
			An index on {table}.{column} for {route}
			{route} read all of {table} to find {small} rows
			The scan behind {place}
			Sorting {things} without an index`),
		problems: phrases(`
			{route} took {before} ms once {table} had grown beyond a million rows.
			{db} read the whole of {table} for each request to {place}, and returned {small} rows.
			Every morning, when {user} opened {place}, the load of {db} rose to its limit.`),
		causes: phrases(`
			The filter on {column} had no index, and the planner scanned {table}.
			The index began with another column than the one that {route} filters by.
			lower({column}) was compared, and the index was on {column} itself.`),
		changes: phrases(`
			An index on ({column}, id) was made concurrently, and {route} filters and sorts by both.
			The expression lower({column}) has an index of its own.
			The partial index holds only open {things}, which is all that {place} shows.`),
		code: phraseOf("CREATE INDEX CONCURRENTLY {table}_{column} ON {table} ({column}, id);")},
	{name: "timeouts", difficulty: "advanced",
		titles: phrases(`
			{route} waited for {store} without a limit
			A timeout for every call behind {route}
			How one slow {other} service stopped {place}
			Retries that made it worse: {writer}`),
		problems: phrases(`
			When {store} hung, {route} hung with it, and after {small} minutes no worker was left.
			{percent} of the requests to {place} failed with a gateway timeout, although {db} was idle.
			{user} pressed the button again, and each press added one more waiting request.`),
		causes: phrases(`
			The client of {lib} waits for ever if no timeout is given.
			Three layers retried three times each: one press became {n} calls.
			The pool of connections was smaller than the number of threads that wanted one.`),
		changes: phrases(`
			Each call has a timeout of {small} seconds, shorter than that of the layer above.
			Only the outermost layer retries, twice, with a pause that grows and is not the same for all.
			When {store} does not answer, {route} serves without it and says so in its log.`),
		code: phraseOf("client = httpx.AsyncClient(timeout=httpx.Timeout(2.0, connect=0.5))\nresponse = await client.get(url)")},
	{name: "pagination", difficulty: "beginner",
		titles: phrases(`
			Page {n} of {things} took {before} ms
			Pages by key instead of by number on {place}
			{route} without OFFSET`),
		problems: phrases(`
			The first page of {things} came in {after} ms, the last one in {before} ms.
			A crawler asked for every page of {place} and kept {db} busy for hours.
			{user} saw some {things} twice and others never while new ones came in.`),
		causes: phrases(`
			OFFSET reads and drops all rows before the page.
			The order was not unique, so that equal rows changed places between two pages.
			The total was counted anew for each page, although only the first one shows it.`),
		changes: phrases(`
			Each page names the last {thing} of the one before, and the next begins behind it.
			The order is ({column}, id), which no two rows share.
			The count is kept for {ttl} and shown as about so many.`),
		code: phraseOf("SELECT id, {column} FROM {table} WHERE ({column}, id) < ($1, $2) ORDER BY {column} DESC, id DESC LIMIT 20;")},
	{name: "leaks", cause: "vary", difficulty: "advanced",
		titles: phrases(`
			{place} showed the {things} of somebody else
			The identity was missing in {key}
			One key, several of {user}`),
		problems: phrases(`
			One of {user} saw {things} that belonged to another, for {ttl} at a time.
			{route} answered with whatever had been stored by the first who asked.
			The list of {things} on {place} changed its language with whoever had filled it.`),
		causes: phrases(`
			{key} held neither the user nor the tenant, and the statement filtered by both.
			The decorator built the key from the arguments, and the identity came from the request.
			Vary named Accept-Encoding only, and the page followed Accept-Language.`),
		changes: phrases(`
			The identity is part of the key, taken from the verified session and not from a header.
			The answer is marked private, and the shared cache no longer keeps it.
			What is equal for all and what is not are cached apart.`),
		code: phraseOf("key = \"{thing}:%d:%d\" % (request.user.id, {thing}_id)\nvalue = await cache.get(key)")},
	{name: "deploys", cause: "version", difficulty: "intermediate",
		titles: phrases(`
			{things} could not be read after the deploy
			A version in {key}
			The deploy that filled {store} with two forms of a {thing}`),
		problems: phrases(`
			For {ttl} after the deploy {percent} of the requests to {route} failed.
			Old and new processes read each other's entries, and {place} lost {column}.
			The rollback made it worse: it read what the new version had stored.`),
		causes: phrases(`
			The form of the cached {thing} changed, and its key did not.
			A field was renamed in {file}, and stored values kept the old name.
			Both versions ran side by side for {small} minutes and shared {store}.`),
		changes: phrases(`
			The key begins with the number of the form: v2:{key}.
			The reader takes both forms, and the old one goes with the release after.
			A rehearsal on staging deploys, reads, rolls back and reads again.`),
		code: phraseOf("FORM = 2\n\ndef key_of({thing}_id: int) -> str:\n    return \"v%d:{thing}:%d\" % (FORM, {thing}_id)")},
	{name: "background-jobs", cause: "lost", difficulty: "intermediate",
		titles: phrases(`
			The job that should have dropped {key}
			{writer} waits no longer for {n} mails
			Moving the {thing} export out of the request`),
		problems: phrases(`
			{writer} took {before} ms, {part} of it for work that nobody waits for.
			The job that refreshes {things} failed at night, and nobody was told.
			{small} jobs for one {thing} ran at the same time and undid each other's work.`),
		causes: phrases(`
			The job was enqueued inside the transaction and ran before its commit.
			A failed job was dropped after its third try, without a line in the log.
			Nothing kept two jobs for one {thing} apart.`),
		changes: phrases(`
			The job is enqueued after the commit and carries the id alone.
			A job that fails for good is counted, and a check of the count stands in demarc.yaml.
			One {thing} has one job at a time: the second waits for the first.`),
		code: phraseOf("transaction.on_commit(lambda: refresh_{thing}.delay({thing}_id))")},
	{name: "serialization", difficulty: "advanced",
		titles: phrases(`
			{route} spent {percent} of its time on JSON
			Smaller {things}: what {place} really shows
			Validating {things} once instead of three times`),
		problems: phrases(`
			{route} sent {n} kB for a list of which {place} shows {small} fields.
			Building the answer took {before} ms, reading {table} only {after} ms.
			Processors were busy, {db} was idle, and {route} was slow all the same.`),
		causes: phrases(`
			Each {thing} was validated on its way out although it had just been read.
			The nested {other} was sent with every {thing}.
			{lib} built a model, a dict and a second model for each row.`),
		changes: phrases(`
			The list has a schema of its own, with the {small} fields that are shown.
			Rows go to the encoder as they are; a test holds their form.
			The answer is encoded once and kept as bytes in {store} for {ttl}.`),
		code: phraseOf("return Response(content=orjson.dumps(rows), media_type=\"application/json\")")},
}

// Phrases that fit every topic.
var (
	contexts = phrases(`
		{user} open {place} several hundred times a day, and most of them read more than they write.
		The service keeps {things} in {db} and runs in {small} processes behind one proxy.
		{table} has some {n} thousand rows and grows by {percent} a year.
		{place} is the first thing that {user} see in the morning.
		A {thing} is written by two people and read by everybody.
		Between two writes to {table} there are about {n} reads.`)
	findings = phrases(`
		demarc run was started on staging for {small} minutes, and demarc report showed {route} at the top.
		The capture of one afternoon holds {n} requests to {route}; nothing was left out.
		demarc doctor was asked first, so that no hook was missing.
		The finding named the line in {file}, which is where the change began.
		Before anything was changed, the figures were taken down as a baseline.`)
	results = phrases(`
		p95 of {route} went from {before} ms to {after} ms, with the same traffic asked again.
		demarc compare claims a change of p95 and none of the error rate; for p99 there were too few requests.
		Statements per request fell to {small}.
		The hit ratio of {key} is {percent}, which is what demarc choose had foretold within a point.
		No stale read was found in the {days} days after.`)
	cautions = phrases(`
		The figures hold for the traffic of these {days} days and for no other.
		That writes became faster is not claimed.
		Nothing is known of {user} that come through the old address.
		On an empty {table} the difference cannot be seen.
		The memory of {store} was not looked at.`)
	backs = phrases(`
		Taking it back is one deploy of the version before; nothing remains in {db}.
		The switch in the environment turns it off without a deploy.
		The rollback was rehearsed on staging and took {small} minutes.
		After a rollback {store} must be emptied of {key}, or it is read for another {ttl}.`)
	remarks = phrases(`
		ask the team of {place} before the lifetime is changed
		the index takes {small} minutes to build on production
		{lib} has changed this since, look at its release notes
		the test in {file} fails where the change is taken out`)
	checks = []string{"run linting", "create a safe backup", "test the smallest change", "rehearse the rollback", "watch the log for ten minutes",
		"tell the people who are on call", "write the final note"}
	columns = []string{"title", "status", "owner_id", "updated_at", "amount", "position", "slug", "state"}
	libs    = []string{"SQLAlchemy", "Django", "Pydantic", "redis-py", "FastAPI", "Celery", "aiocache", "httpx"}
	bases   = []string{"PostgreSQL", "SQLite", "MySQL"}
	stores  = []string{"Redis", "Memcached", "the process's own cache", "the CDN"}
	tools   = []string{"demarc", "curl", "pytest", "psql", "redis-cli", "ruff", "k6"}
	ttls    = []string{"ten seconds", "thirty seconds", "a minute", "five minutes", "an hour"}
	parts   = []string{"a third", "half", "two thirds", "most", "nearly all"}
	stacks  = []string{"fastapi >=0.110", "starlette", "django 5.1", "flask 3", "sqlalchemy >=2.0", "psycopg 3", "asyncpg", "redis 7", "celery 5", "uvicorn"}
)

// Topics returns the names that NoteOptions.Topic takes, Scenarios those of NoteOptions.Scenario.
func Topics() []string {
	var list []string
	for i := range topics {
		list = append(list, topics[i].name)
	}
	return list
}

// Scenarios returns the names that NoteOptions.Scenario takes.
func Scenarios() []string {
	var list []string
	for i := range scenarios {
		list = append(list, scenarios[i].name)
	}
	return list
}

func choose[T any](r *rng, list []T) T { return list[r.below(int64(len(list)))] }

// subjectOf draws what a note speaks of.
func subjectOf(r *rng, sc *scenario) *subject {
	var s subject
	set := func(name, v string) { s[slotNumber(name)] = v }
	thing := choose(r, sc.things)
	other := choose(r, sc.things)
	for other == thing {
		other = choose(r, sc.things)
	}
	many := plural(thing)
	set("thing", thing)
	set("things", many)
	set("other", other)
	set("table", many)
	set("column", choose(r, columns))
	set("route", choose(r, []string{"GET /" + many, "GET /" + many + "/{id}", "GET /api/" + many, "GET /" + plural(other) + "/{id}/" + many}))
	set("writer", choose(r, []string{"POST /" + many, "PUT /" + many + "/{id}", "PATCH /" + many + "/{id}", "the nightly import of " + many}))
	set("key", thing+":{}")
	before := r.between(80, 1900)
	set("before", itoa(before))
	set("after", itoa(max(before/r.between(2, 12), 3)))
	set("n", itoa(r.between(20, 900)))
	set("small", itoa(r.between(2, 9)))
	set("days", itoa(r.between(3, 28)))
	set("percent", itoa(r.between(4, 96))+" %")
	set("part", choose(r, parts))
	set("user", choose(r, sc.users))
	set("place", choose(r, sc.places))
	set("file", "app/"+many+".py")
	set("lib", choose(r, libs))
	set("db", choose(r, bases))
	set("store", choose(r, stores))
	set("tool", choose(r, tools))
	set("ttl", choose(r, ttls))
	return &s
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func plural(s string) string {
	switch {
	case s[len(s)-1] == 'y' && s[len(s)-2] != 'a' && s[len(s)-2] != 'e':
		return s[:len(s)-1] + "ies"
	case s[len(s)-1] == 'h' || s[len(s)-1] == 'x' || s[len(s)-1] == 's':
		return s + "es"
	}
	return s + "s"
}
