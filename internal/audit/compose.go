package audit

import (
	"path"
	"regexp"
	"strings"
)

// composeService is the service of a compose file that is being read, line by line: what matters here stands on lines of its own
// in every compose file that people write, and reading lines gives their numbers.
type composeService struct {
	name, key     string // the service; its member that the line belongs to
	in            bool   // within services:
	indent        int    // of service names, 0 before the first
	member        int    // of a service's members, 0 before the first
	line          int    // of the image, or of the name
	cache, store  bool   // image of a cache; of a cache or database
	password      bool
	publishedLine int
	long          int  // line of a port's "published:" that nothing says the address of, 0 for none
	loopback      bool // the port's host_ip
}

func composeFile(name string) bool {
	base := strings.ToLower(path.Base(name))
	return strings.HasPrefix(base, "compose") || strings.HasPrefix(base, "docker-compose")
}

var (
	cacheImage = regexp.MustCompile(`^image:\s*["']?(?:[\w.:-]+/)*(redis|valkey|memcached|keydb|dragonfly|garnet|redis-stack(?:-server)?)(?:[:@"'\s]|$)`)
	storeImage = regexp.MustCompile(`^image:\s*["']?(?:[\w.:-]+/)*(postgres|postgis|mysql|mariadb|mongo|elasticsearch|rabbitmq)(?:[:@"'\s]|$)`)
	published  = regexp.MustCompile(`^(?:-\s*)?["']?(?:(0\.0\.0\.0|\[?::\]?|[\d.]+|\[[0-9a-f:]+\]):)?[\d-]+:[\d-]+(?:/\w+)?["']?$`)
	composeKey = regexp.MustCompile(`^["']?([\w.-]+)["']?:`)
)

func (f *file) composeLine(line string) {
	s := &f.service
	t := strings.TrimSpace(line)
	indent := len(line) - len(strings.TrimLeft(line, " "))
	if indent == 0 {
		f.composeEnd()
		*s = composeService{in: strings.HasPrefix(t, "services:")}
		return
	}
	if !s.in {
		return
	}
	m := composeKey.FindStringSubmatch(t)
	if m != nil && (s.indent == 0 || indent <= s.indent) {
		f.composeEnd()
		*s = composeService{in: true, indent: indent, name: m[1], line: f.at}
		if _, flow, ok := strings.Cut(t, ":"); ok && strings.HasPrefix(strings.TrimSpace(flow), "{") {
			f.composeFlow(flow)
		}
		return
	}
	if m != nil && s.name != "" && (s.member == 0 || indent <= s.member) {
		s.member, s.key = indent, m[1]
	}
	if cacheImage.MatchString(t) {
		s.cache, s.store, s.line = !strings.Contains(t, "memcached"), true, f.at
		f.setting("image of "+s.name, KindCache, "")
	} else if storeImage.MatchString(t) {
		s.store = true
	}
	if strings.Contains(t, "requirepass") || strings.Contains(t, "aclfile") || strings.Contains(t, "REDIS_PASSWORD") && s.key == "environment" || strings.Contains(t, "redis.conf") {
		s.password = true
	}
	if s.key == "ports" {
		f.composePorts(strings.TrimSpace(strings.TrimPrefix(t, "ports:")))
	} else {
		f.composePort()
	}
}

var (
	hostIP    = regexp.MustCompile(`\bhost_ip:\s*["']?([\w.:\[\]]+)`)
	longPort  = regexp.MustCompile(`\bpublished:\s*["']?\d`)
	plainPort = regexp.MustCompile(`^-?\s*["']?\d+(?:-\d+)?(?:/\w+)?["']?$`)
)

// composePorts takes a line of a service's ports: an item of a list, several of a list in brackets, or a member of the long form.
func (f *file) composePorts(t string) {
	s := &f.service
	if strings.HasPrefix(t, "-") {
		f.composePort()
	}
	if ip := hostIP.FindStringSubmatch(t); ip != nil {
		s.loopback = isLoopback(strings.Trim(ip[1], "[]"))
	}
	if longPort.MatchString(t) {
		s.long = f.at
	}
	if inner, ok := strings.CutPrefix(t, "["); ok && !strings.Contains(t, "{") {
		for item := range strings.SplitSeq(strings.TrimSuffix(inner, "]"), ",") {
			f.composePublished(strings.TrimSpace(item))
		}
		return
	}
	f.composePublished(t)
}

func (f *file) composePublished(item string) {
	s := &f.service
	p := published.FindStringSubmatch(item)
	if p == nil && !plainPort.MatchString(item) { // a port alone is published, too: on one that Docker chooses
		return
	}
	f.setting("ports of "+s.name, KindSecurity, "")
	if (p == nil || !isLoopback(strings.Trim(strings.TrimSuffix(p[1], ":"), "[]"))) && s.publishedLine == 0 {
		s.publishedLine = f.at
	}
}

// composePort judges a port in the long form when its members were read.
func (f *file) composePort() {
	s := &f.service
	if s.long > 0 {
		f.setting("ports of "+s.name, KindSecurity, "")
		if !s.loopback && s.publishedLine == 0 {
			s.publishedLine = s.long
		}
	}
	s.long, s.loopback = 0, false
}

func isLoopback(ip string) bool {
	return strings.HasPrefix(ip, "127.") || ip == "::1" || ip == "localhost"
}

var (
	flowImage = regexp.MustCompile(`\bimage:\s*(["']?[^,"'}\s]+)`)
	flowPorts = regexp.MustCompile(`\bports:\s*\[([^\]]*)\]`)
	flowPort  = regexp.MustCompile(`\{[^}]*\}`)
)

// composeFlow takes a service that is written on one line.
func (f *file) composeFlow(text string) {
	indent := strings.Repeat(" ", f.service.indent+2)
	if image := flowImage.FindStringSubmatch(text); image != nil {
		f.composeLine(indent + "image: " + image[1])
	}
	ports := flowPorts.FindStringSubmatch(text)
	f.composeLine(indent + "environment: " + flowPorts.ReplaceAllString(text, "")) // where a password may stand
	f.composeLine(indent + "ports:")
	if ports == nil {
		return
	}
	for _, long := range flowPort.FindAllString(ports[1], -1) {
		f.composePorts("- " + long)
	}
	f.composePorts("[" + flowPort.ReplaceAllString(ports[1], "") + "]")
}

// composeEnd judges a service when all its lines were read.
func (f *file) composeEnd() {
	s := &f.service
	f.composePort()
	was := f.at
	if s.cache && !s.password {
		f.at = s.line
		f.flaw("cache-password", "service "+s.name+" is a cache server without a password")
	}
	if s.store && s.publishedLine > 0 {
		f.at = s.publishedLine
		f.flaw("cache-published", "service "+s.name+" is published on every address of the machine")
	}
	f.at = was
}
