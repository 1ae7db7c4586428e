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
}

func composeFile(name string) bool {
	base := strings.ToLower(path.Base(name))
	return strings.HasPrefix(base, "compose") || strings.HasPrefix(base, "docker-compose")
}

var (
	cacheImage = regexp.MustCompile(`^image:\s*["']?(?:[\w.:-]+/)*(redis|valkey|memcached|keydb|dragonfly|garnet|redis-stack(?:-server)?)(?:[:@"'\s]|$)`)
	storeImage = regexp.MustCompile(`^image:\s*["']?(?:[\w.:-]+/)*(postgres|postgis|mysql|mariadb|mongo|elasticsearch|rabbitmq)(?:[:@"'\s]|$)`)
	published  = regexp.MustCompile(`^-\s*["']?(?:(0\.0\.0\.0|\[?::\]?|[\d.]+|\[[0-9a-f:]+\]):)?[\d-]+:[\d-]+(?:/\w+)?["']?$`)
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
		if p := published.FindStringSubmatch(t); p != nil {
			f.setting("ports of "+s.name, KindSecurity, "")
			if !strings.HasPrefix(p[1], "127.") && p[1] != "[::1]" && s.publishedLine == 0 {
				s.publishedLine = f.at
			}
		}
	}
}

// composeEnd judges a service when all its lines were read.
func (f *file) composeEnd() {
	s := &f.service
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
