package auditscan

import (
	"context"
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/demarc-dev/demarc/internal/audit"
	"github.com/demarc-dev/demarc/internal/redis"
)

// maxServers is how many cache servers are asked.
const maxServers = 8

// maxOwn is how many addresses of this machine are tried.
const maxOwn = 4

// Servers asks the cache servers that were named: whether they want a password, and on which addresses they listen. It sends PING,
// CONFIG GET and ACL GETUSER, which change nothing. asked are named on the command line and asked wherever they are; those of
// files and captures only on this machine and in private networks.
func Servers(ctx context.Context, asked []string, found []audit.ServerRef) []audit.Server {
	var refs []audit.ServerRef
	for _, a := range asked {
		refs = append(refs, audit.ServerRef{Address: a})
	}
	refs = append(refs, found...)
	// Of two that name one server, the one with a password can ask it more.
	slices.SortStableFunc(refs, func(a, b audit.ServerRef) int { return rank(a) - rank(b) })
	var list []audit.Server
	seen := map[string]bool{}
	for _, ref := range refs {
		address, _, err := place(ref.Address)
		if err != nil || seen[address] || len(list) >= maxServers {
			continue
		}
		seen[address] = true
		list = append(list, ask(ctx, ref))
	}
	return list
}

func rank(r audit.ServerRef) int {
	if r.Where == "" {
		return 0
	}
	if u, err := url.Parse(r.Address); err == nil && u.User != nil {
		return 1
	}
	return 2
}

// place returns where a server is, without its password.
func place(address string) (shown string, u *url.URL, err error) {
	if u, err = url.Parse(strings.Replace(address, "valkey://", "redis://", 1)); err != nil {
		return "", nil, errors.New("no address")
	}
	switch {
	case u.Scheme == "unix":
		return u.Path, u, nil
	case u.Scheme != "redis" && u.Scheme != "rediss", u.Hostname() == "":
		return "", nil, errors.New("no address of a cache server")
	}
	port := u.Port()
	if port == "" {
		port = "6379"
	}
	return net.JoinHostPort(u.Hostname(), port), u, nil
}

// ask asks one server.
func ask(ctx context.Context, ref audit.ServerRef) audit.Server {
	shown, u, err := place(ref.Address)
	s := audit.Server{Address: shown, Named: ref.Where}
	if err != nil {
		s.Error = err.Error()
		return s
	}
	if u.Scheme == "unix" {
		s.Loopback = true
	} else {
		ips, err := net.DefaultResolver.LookupIP(ctx, "ip", u.Hostname())
		if err != nil {
			s.Error = "its name is not known here"
			return s
		}
		s.Loopback = !slices.ContainsFunc(ips, func(ip net.IP) bool { return !ip.IsLoopback() })
		s.Public = slices.ContainsFunc(ips, func(ip net.IP) bool { return ip.IsGlobalUnicast() && !ip.IsPrivate() && !ip.IsLoopback() })
		if s.Public && ref.Where != "" {
			s.Error = "it is in the Internet: --redis URL has it asked"
			return s
		}
	}
	bare := *u
	bare.User, bare.Path = nil, ""
	if u.Scheme == "unix" {
		bare.Path = u.Path
	}
	answer, err := ping(ctx, bare.String())
	switch {
	case err != nil:
		s.Error = reason(err)
		return s
	case answer == "":
		s.Open = true
	}
	settings(ctx, &s, *u)
	if s.Loopback && u.Scheme == "redis" {
		s.Reached = reached(ctx, u.Port())
	}
	return s
}

// ping asks for a sign of life. A refusal is no error: it is returned as the answer.
func ping(ctx context.Context, address string) (refusal string, err error) {
	c, err := redis.Dial(ctx, address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_, err = c.Do("PING")
	var refused redis.Error
	if errors.As(err, &refused) {
		return string(refused), nil
	}
	return "", err
}

// settings asks a server for what it tells of itself; what it does not tell stays unknown.
func settings(ctx context.Context, s *audit.Server, u url.URL) {
	if u.Scheme != "unix" {
		u.Path = ""
	}
	c, err := redis.Dial(ctx, u.String())
	if err != nil {
		return
	}
	defer c.Close()
	bind, err := c.Setting("bind")
	if err == nil && bind == "" {
		bind = "*"
	}
	s.Bind = bind
	s.Guarded, _ = c.Setting("protected-mode")
	if v, err := c.Do("ACL", "GETUSER", "default"); err == nil && !s.Open {
		fields, _ := v.([]any)
		for i := 0; i+1 < len(fields); i += 2 {
			if flags, ok := fields[i+1].([]any); ok && fields[i] == "flags" && slices.Contains(flags, any("nopass")) && slices.Contains(flags, any("on")) {
				s.Default = "the default user is on and needs no password"
			}
		}
	}
}

// reached tries the addresses that this machine has in networks, and returns the first under which a server answers.
func reached(ctx context.Context, port string) string {
	if port == "" {
		port = "6379"
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	tried := 0
	for _, a := range addresses {
		n, ok := a.(*net.IPNet)
		if !ok || n.IP.IsLoopback() || n.IP.IsLinkLocalUnicast() {
			continue
		}
		if tried++; tried > maxOwn {
			return ""
		}
		own := net.JoinHostPort(n.IP.String(), port)
		limited, cancel := context.WithTimeout(ctx, 2*time.Second)
		refusal, err := ping(limited, "redis://"+own)
		cancel()
		if err == nil && !strings.HasPrefix(refusal, "DENIED") { // protected mode closes the door to the network
			return own
		}
	}
	return ""
}

func reason(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err.Error()
	}
	return err.Error()
}
