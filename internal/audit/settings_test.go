package audit

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// found are the flaws of files, as "item file:line".
func found(files map[string]string) []string {
	p := &Project{}
	for _, name := range sortedNames(files) {
		p.Add(name, files[name])
	}
	var list []string
	for item, places := range p.places.list {
		for _, x := range places {
			list = append(list, item+" "+x.Where)
		}
	}
	slices.Sort(list)
	return list
}

func sortedNames(files map[string]string) []string {
	var names []string
	for n := range files {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func TestFlawsOfSettings(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       []string
	}{
		{"app.py", "app = FastAPI(title='x', debug=True)\n", []string{"debug app.py:1"}},
		{"app.py", "app = FastAPI(\n    title='x',\n)\napp.debug = False\n", nil},
		{"settings.py", "DEBUG = True\nALLOWED_HOSTS = ['*']\nSESSION_COOKIE_SECURE = False\nDATA_UPLOAD_MAX_MEMORY_SIZE = None\n",
			[]string{"cookie-flags settings.py:3", "debug settings.py:1", "hosts settings.py:2", "upload-setting settings.py:4"}},
		{"settings.py", "DEBUG = env('DEBUG')\nALLOWED_HOSTS = ['shop.example']\n# DEBUG = True\n\"\"\"\nDEBUG = True\n\"\"\"\n", nil},
		{"app.py", "def f():\n    r\"\"\"As in redis://app:tiger@db/x\n    DEBUG = True\n    \"\"\"\n    DEBUG = True\nHELP = '''\nDEBUG = True\n'''\n# or postgresql://scott:tiger@host/x\n", []string{"debug app.py:5"}},
		{"tests/settings.py", "DEBUG = True\n", nil},
		{"app.py", "app.add_middleware(\n    CORSMiddleware,\n    allow_origins=['*'],\n    allow_credentials=True,\n)\n", []string{"cors app.py:2"}},
		{"app.py", "app.add_middleware(CORSMiddleware, allow_origins=['*'])\n", nil},
		{"app.py", "app.add_middleware(CORSMiddleware, allow_origins=['https://a.example'], allow_credentials=True)\n", nil},
		{"app.py", "r.set_cookie('a', '1')\nr.set_cookie(\n  'b', '2', httponly=True,\n  secure=True,\n)\nr.set_cookie('c', f(')'), httponly=False, secure=True)\n",
			[]string{"cookie-flags app.py:1", "cookie-flags app.py:6"}},
		{"app.py", "httpx.get(url, verify=False)\nhttpx.get(url, verify=True)\n", []string{"tls app.py:1"}},
		{"nginx.conf", "client_max_body_size 0;\nclient_max_body_size 1m;\nproxy_ignore_headers Cache-Control Set-Cookie;\nproxy_cache_key $uri;\nproxy_cache_key $uri$is_args$args;\nproxy_cache_valid 200 1m;\n# client_max_body_size 0;\n",
			[]string{"set-cookie-stored nginx.conf:3", "unkeyed-input nginx.conf:4", "upload-setting nginx.conf:1"}},
		{"redis.conf", "bind 127.0.0.1 -::1\nprotected-mode yes\n", nil},
		{"redis.conf", "bind *\nprotected-mode no\n", []string{"cache-network redis.conf:1", "cache-network redis.conf:2"}},
		{"compose.yaml", "services:\n  a:\n    image: redis:7\n  b:\n    image: bitnami/redis:7\n    command: redis-server --requirepass ${P:?}\n    ports: \n      - 127.0.0.1:6379:6379\n  c:\n    image: postgres:15\n    ports:\n      - \"5432:5432\"\n  web:\n    ports:\n      - 80:80\n",
			[]string{"cache-password compose.yaml:3", "cache-published compose.yaml:12"}},
		{"compose.yaml", "services:\n  a:\n    image: postgres:15\n    ports: [\"5432:5432\"]\n  b:\n    image: postgres:15\n    ports: ['127.0.0.1:5432:5432', \"[::1]:5433:5432\"]\n" +
			"  c:\n    image: postgres\n    ports:\n      - target: 5432\n        published: 5432\n  d:\n    image: postgres\n    ports:\n      - target: 5432\n        published: \"5432\"\n        host_ip: 127.0.0.1\n" +
			"  e: {image: redis, command: redis-server --requirepass x, ports: [\"6379:6379\"]}\n  f: {image: postgres, ports: [{target: 5432, published: 5432, host_ip: 127.0.0.1}]}\n  g:\n    image: mysql\n    ports:\n      - 3306\n",
			[]string{"cache-published compose.yaml:12", "cache-published compose.yaml:19", "cache-published compose.yaml:24", "cache-published compose.yaml:4"}},
		{"Dockerfile", "FROM x\nENV DEBUG=1\nCMD [\"uvicorn\", \"--forwarded-allow-ips\", \"*\"]\n", []string{"debug Dockerfile:2", "hosts Dockerfile:3"}},
		{"README.md", "DEBUG = True\npassword=hunter22222\n", nil},
	} {
		if got := found(map[string]string{tc.name: tc.text}); !slices.Equal(got, tc.want) {
			t.Errorf("%s %q:\n got %v\nwant %v", tc.name, tc.text, got, tc.want)
		}
	}
}

func TestSettingsAreListedWithoutSecrets(t *testing.T) {
	p := &Project{}
	p.Add("shop/settings.py", "CACHES = {\n    'default': {'BACKEND': 'redis', 'LOCATION': 'redis://:swordfish1@cache:6379/1', 'TIMEOUT': 300},\n}\n"+
		"CACHE_TTL = 60 * 15\nSECRET_KEY = 'k3Jf9aZq82mL'\nSESSION_COOKIE_AGE = 1209600\ncache = TTLCache(100, ttl=60)\nresponse['Cache-Control'] = 'max-age=60'\n")
	p.Add(".env", "REDIS_URL=redis://:swordfish1@cache:6379/0\nCACHE_TTL=60\n")
	var got []string
	for _, s := range p.Settings {
		got = append(got, fmt.Sprintf("%s:%d %s %s %s", s.File, s.Line, s.Kind, s.Name, s.Value))
		if strings.Contains(s.Value, "swordfish") || strings.Contains(s.Value, "k3J") {
			t.Errorf("a secret is shown: %+v", s)
		}
	}
	for _, want := range []string{
		"shop/settings.py:1 cache CACHES ", "shop/settings.py:4 cache CACHE_TTL 60 * 15", "shop/settings.py:5 security SECRET_KEY ",
		"shop/settings.py:6 security SESSION_COOKIE_AGE 1209600", "shop/settings.py:7 cache TTLCache ", "shop/settings.py:8 cache cache-control max-age=60",
		".env:1 cache REDIS_URL ", ".env:2 cache CACHE_TTL 60",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, strings.Join(got, "\n"))
		}
	}
	if len(p.Servers) != 2 || p.Servers[0].Where != "shop/settings.py:2" {
		t.Errorf("servers: %+v", p.Servers)
	}
}

func FuzzProject(f *testing.F) {
	for _, name := range []string{"a.py", "compose.yaml", ".env", "x.conf", "redis.conf", "Dockerfile", "a.toml", "k.pem"} {
		for _, text := range []string{"services:\n  a:\n    image: redis:7\n    ports:\n    - 1:1\n", "DEBUG = True\nr.set_cookie(", "\"\"\"\n'''", "SECRET_KEY='k3Jf9aZq82mL'#\r\n\xff", "bind *\n"} {
			f.Add(name, text)
		}
	}
	f.Fuzz(func(t *testing.T, name, text string) {
		p := &Project{Named: []string{"other"}, Mask: func(string) string { return "0" }}
		p.Add(name, text)
		lines := strings.Count(text, "\n") + 1
		for _, s := range p.Settings {
			if s.Line < 1 || s.Line > lines || s.Kind == "" || s.Name == "" {
				t.Fatalf("%+v", s)
			}
		}
		for item, list := range p.places.list {
			for _, x := range list {
				if x.Line < 1 || x.Line > lines || !slices.ContainsFunc(rules, func(r rule) bool { return r.id == item }) {
					t.Fatalf("%s: %+v", item, x)
				}
			}
		}
	})
}
