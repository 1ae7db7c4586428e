package synth

import "strconv"

// generator is what generated notes name as their maker.
const generator = "demarc synth"

// quoted appends a text between double quotes, as JSON and YAML both read it. What comes is valid UTF-8.
func quoted(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, '\\', 'n')
		case c < ' ' || c == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// appendMarkdown writes the note with front matter in YAML.
func (d *draft) appendMarkdown(b []byte) []byte {
	b = d.appendHead(append(b, "---\n"...))
	b = append(b, "---\n\n"...)
	return append(b, d.body...)
}

// appendHead writes the front matter without its bounds.
func (d *draft) appendHead(b []byte) []byte {
	field := func(name, v string) {
		if v != "" {
			b = append(quoted(append(append(b, name...), ": "...), v), '\n')
		}
	}
	list := func(name string, l []string) {
		if len(l) == 0 {
			return
		}
		b = append(append(b, name...), ":\n"...)
		for _, s := range l {
			b = append(quoted(append(b, "  - "...), s), '\n')
		}
	}
	field("topic", d.topic)
	field("summary", d.summary)
	field("brief", d.brief)
	b = append(b, "outline:\n"...)
	field("  context", d.context)
	field("  problem", d.problem)
	field("  stack", d.stack[0])
	field("  recommended_action", d.change)
	list("stack", d.stack)
	list("tools", d.tools)
	field("code_language", d.language)
	field("difficulty", d.difficulty)
	field("date", d.date)
	b = append(strconv.AppendInt(append(b, "reading_time: "...), d.readingTime, 10), '\n')
	b = append(strconv.AppendInt(append(b, "views:\n  count: "...), d.views, 10), "\n  kind: synthetic\n"...)
	b = append(b, "revision:\n  status: draft\n  version: 1\nflags:\n  generated: true\n  needs_human_review: true\n"...)
	list("checklist", d.checklist)
	b = append(b, "entities:\n"...)
	for _, e := range d.entities {
		b = append(quoted(append(b, "  - name: "...), e[0]), '\n')
		b = append(append(append(b, "    type: "...), e[1]...), '\n')
	}
	if d.image[0] != "" {
		b = append(b, "image_sources:\n"...)
		b = append(quoted(append(b, "  - source: "...), d.image[0]), '\n')
		field("    address", d.image[1])
		field("    caption", d.image[2])
	}
	b = append(b, "payload:\n"...)
	field("  source_id", d.id)
	field("  generator", generator)
	field("  scenario", d.scenario)
	field("  seed", d.seed)
	list("notes", d.remarks)
	return b
}

// appendJSON writes the note as one object.
func (d *draft) appendJSON(b []byte) []byte {
	b = append(b, '{')
	field := func(name, v string) {
		if b[len(b)-1] != '{' {
			b = append(b, ',')
		}
		b = quoted(append(quoted(b, name), ':'), v)
	}
	list := func(name string, l []string) {
		if len(l) == 0 {
			return
		}
		b = append(quoted(append(b, ','), name), ":["...)
		for i, s := range l {
			if i > 0 {
				b = append(b, ',')
			}
			b = quoted(b, s)
		}
		b = append(b, ']')
	}
	object := func(name string) { b = append(quoted(append(b, ','), name), ":{"...) }
	field("topic", d.topic)
	field("summary", d.summary)
	field("brief", d.brief)
	object("outline")
	field("context", d.context)
	field("problem", d.problem)
	field("stack", d.stack[0])
	field("recommended_action", d.change)
	b = append(b, '}')
	list("stack", d.stack)
	list("tools", d.tools)
	field("code_language", d.language)
	field("difficulty", d.difficulty)
	field("date", d.date)
	b = strconv.AppendInt(append(b, `,"reading_time":`...), d.readingTime, 10)
	b = strconv.AppendInt(append(b, `,"views":{"count":`...), d.views, 10)
	b = append(b, `,"kind":"synthetic"},"revision":{"status":"draft","version":1},"flags":{"generated":true,"needs_human_review":true}`...)
	list("checklist", d.checklist)
	b = append(b, `,"entities":[`...)
	for i, e := range d.entities {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '{')
		field("name", e[0])
		field("type", e[1])
		b = append(b, '}')
	}
	b = append(b, ']')
	if d.image[0] != "" {
		b = append(b, `,"image_sources":[{`...)
		field("source", d.image[0])
		field("address", d.image[1])
		field("caption", d.image[2])
		b = append(b, "}]"...)
	}
	object("payload")
	field("source_id", d.id)
	field("generator", generator)
	field("scenario", d.scenario)
	field("seed", d.seed)
	b = append(b, '}')
	list("notes", d.remarks)
	field("body", string(d.body))
	return append(b, '}')
}

// appendText writes the note with a block of post metadata below it, as it comes out of other programs: labels glued to
// their values, bullets, lists within lists.
func (d *draft) appendText(b []byte) []byte {
	b = append(b, d.body...)
	b = append(b, "\n---\nPost metadata\n"...)
	glued := func(name, v string) { b = append(append(append(b, name...), v...), '\n') }
	list := func(name string, l []string) {
		if len(l) == 0 {
			return
		}
		b = append(append(b, name...), '\n')
		for _, s := range l {
			b = append(append(append(b, "- "...), s...), '\n')
		}
	}
	glued("topic: ", d.topic)
	glued("Summary: ", d.summary)
	glued("brief: ", d.brief)
	glued("code language", d.language)
	glued("difficulty", d.difficulty)
	glued("date: ", d.date)
	glued("reading time", strconv.FormatInt(d.readingTime, 10))
	list("stack", d.stack)
	list("tools", d.tools)
	b = append(b, "outline\n"...)
	glued("- context: ", d.context)
	glued("- problem: ", d.problem)
	glued("- stack: ", d.stack[0])
	glued("- recommended action: ", d.change)
	b = append(b, "views\n"...)
	glued("  - count", strconv.FormatInt(d.views, 10))
	b = append(b, "  - kind: synthetic\nrevision\n- status: draft\n- version1\nflags\n- generatedtrue\n- needs human review: yes\n"...)
	list("checklist", d.checklist)
	b = append(b, "entities\n"...)
	for _, e := range d.entities {
		glued("- name: ", e[0])
		glued("  type", e[1])
	}
	if d.image[0] != "" {
		b = append(b, "image sources\n"...)
		glued("- source: ", d.image[0])
		glued("  address: ", d.image[1])
		glued("  caption: ", d.image[2])
	}
	b = append(b, "payload\n"...)
	glued("- source id: ", d.id)
	glued("- generator: ", generator)
	glued("- scenario: ", d.scenario)
	glued("- seed", d.seed)
	list("notes", d.remarks)
	return b
}
