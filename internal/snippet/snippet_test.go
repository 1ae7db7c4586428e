package snippet

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/internal/boundary"
)

func need(t *testing.T, name string) string {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		t.Fatalf("%s is not set: run make test, or scripts/with-servers with the variables of scripts/env", name)
	}
	return v
}

func drops(tables ...string) (list []boundary.Drop) {
	for _, name := range tables {
		list = append(list, boundary.Drop{Table: name, By: boundary.Table})
	}
	return list
}

var (
	articles = boundary.Boundary{
		Name: "GET /api/articles/{slug}", Level: boundary.Response, Key: []string{"path.slug", "principal"}, TTL: boundary.TTL(time.Minute),
		Invalidation: boundary.TableFenced, InvalidateOn: drops("articles", "public.users"),
	}
	comments = boundary.Boundary{
		Name: "GET /api/articles/{slug}/comments", Level: boundary.Response, Key: []string{"path.slug", "principal"}, TTL: boundary.TTL(time.Minute),
		Invalidation: boundary.RowFenced, InvalidateOn: []boundary.Drop{
			{Table: "articles", By: boundary.Row, Columns: []string{"slug", "id"}}, {Table: "follows", By: boundary.Row, Columns: []string{"followee_id,follower_id"}},
			{Table: "users", By: boundary.Table}},
	}
	lists = boundary.Boundary{
		Name: "GET /api/articles", Level: boundary.Response, Key: []string{"query.tag", "query.limit"}, TTL: boundary.TTL(time.Second),
		Invalidation: boundary.TableFenced, InvalidateOn: drops("articles"),
	}
	tags = boundary.Boundary{
		Name: "GET /api/tags", Level: boundary.Response, Key: []string{"query.page"}, TTL: boundary.TTL(1500 * time.Millisecond), Invalidation: boundary.None,
	}
	health = boundary.Boundary{Name: "GET /api/health", Level: boundary.Response, TTL: boundary.TTL(200 * time.Millisecond), Invalidation: boundary.None}
	mine   = boundary.Boundary{
		Name: "GET /api/people/{name}/list", Level: boundary.Response, Key: []string{"path.name", "principal"}, TTL: boundary.TTL(time.Minute), Invalidation: boundary.None,
	}
	prices = boundary.Boundary{
		Name: "shop.prices:prices", Level: boundary.Function, Key: []string{"arg.region", "arg.day"}, TTL: boundary.TTL(time.Minute),
		Invalidation: boundary.TableFenced, InvalidateOn: drops("prices", "public.Regions"),
	}
	stock = boundary.Boundary{
		Name: "shop.stock:Stock.of", Level: boundary.Function, Key: []string{"arg.sku"}, TTL: boundary.TTL(time.Minute), Invalidation: boundary.RowFenced,
		InvalidateOn: []boundary.Drop{{Table: "stock", By: boundary.Row, Columns: []string{"sku", "place,shop"}}, {Table: "shops", By: boundary.Table}},
	}
	quotes = boundary.Boundary{Name: "shop.quotes:quotes", Level: boundary.Function, TTL: boundary.TTL(200 * time.Millisecond), Invalidation: boundary.None}
	rates  = boundary.Boundary{Name: "shop.rates:rates", Level: boundary.Function, TTL: boundary.TTL(time.Second), Invalidation: boundary.None}
)

// Each snippet does what it says: its own tests pass on a real Redis, or in a real nginx; and with the oldest Python and SQLAlchemy there are.
func TestSnippetsPassTheirTests(t *testing.T) {
	redis := need(t, "DEMARC_TEST_REDIS")
	for name, list := range map[string][]boundary.Boundary{
		"cashews": {articles, lists, comments, stock, rates, health, quotes}, "fastapi-cache": {articles, comments, prices, health, quotes},
		"cashews functions": {prices}, "cashews 1.4": {stock}, "django": {articles, lists, tags, prices, rates}, "nginx": {tags, mine},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			library, _, _ := strings.Cut(name, " ")
			python := "DEMARC_TEST_PYTHON"
			if strings.HasSuffix(name, "1.4") {
				python = "DEMARC_TEST_SQLALCHEMY14_PYTHON"
			}
			dir := t.TempDir()
			files, err := Render(library, list, Asker{Header: "X-Tenant", Cookie: "tenant"}, "public.users", "prices")
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				if err := os.WriteFile(filepath.Join(dir, f.Name), []byte(f.Text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, need(t, python), "-m", "pytest", "-q", "-p", "no:cacheprovider", dir)
			cmd.Dir = dir
			// Not the folder that all pytests share, and close to others: nginx's workers are another user where root starts it.
			for _, open := range []string{filepath.Dir(dir), dir} {
				if err := os.Chmod(open, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			cmd.Env = append(os.Environ(), "REDIS_URL="+redis, "PYTEST_DEBUG_TEMPROOT="+dir)
			out, err := cmd.CombinedOutput()
			if err != nil || strings.Contains(string(out), "skipped") {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("%s", out)
		})
	}
}

func TestRefused(t *testing.T) {
	for want, b := range map[string]boundary.Boundary{
		"there are snippets for the answers of GET routes": {Name: "shop.pricing:price_for", Level: boundary.Function},
		"has no lifetime": {Name: "GET /a", Level: boundary.Response},
		"the route holds": {Name: "GET /a\"\"\"\nimport os", Level: boundary.Response, TTL: 1e9},
		"the key part":    {Name: "GET /a", Level: boundary.Response, TTL: 1e9, Key: []string{"query.a\""}},
		"the table":       {Name: "GET /a", Level: boundary.Response, TTL: 1e9, InvalidateOn: drops("a\"")},
		"counts whole seconds: a lifetime of 1s or longer was expected": health,
		"dropped by write": {Name: "GET /a", Level: boundary.Response, TTL: 1e9, InvalidateOn: drops("a")},
	} {
		if _, err := Render("nginx", []boundary.Boundary{b}, Asker{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %q was expected", b.Name, err, want)
		}
	}
	for want, b := range map[string]boundary.Boundary{
		"of GET routes and for functions": {Name: "SELECT 1", Level: boundary.Query, TTL: 1e9},
		"is no function":                  {Name: "shop\n:f", Level: boundary.Function, TTL: 1e9},
		"has principal in its key":        {Name: "shop:f", Level: boundary.Function, TTL: 1e9, Key: []string{"arg.a", "principal"}},
		"has arg.self in its key":         {Name: "shop:A.f", Level: boundary.Function, TTL: 1e9, Key: []string{"arg.self"}},
		"has arg.*0 in its key":           {Name: "shop:f", Level: boundary.Function, TTL: 1e9, Key: []string{"arg.*0"}},
		"has no lifetime":                 {Name: "shop:f", Level: boundary.Function},
	} {
		if _, err := Render("cashews", []boundary.Boundary{b}, Asker{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %q was expected", b.Name, err, want)
		}
	}
	for _, library := range []string{"django", "nginx"} { // longer than it was replayed, an entry could be stale
		files, err := Render(library, []boundary.Boundary{tags}, Asker{})
		if err != nil || !strings.Contains(files[0].Text+files[1].Text, "kept for 1s (1500ms in whole seconds)") {
			t.Errorf("%s: %v", library, err)
		}
	}
	if _, err := Render("django", []boundary.Boundary{quotes}, Asker{}); err == nil || !strings.Contains(err.Error(), "lives for 200ms, which django cannot keep") {
		t.Errorf("a lifetime of less than a second: %v", err)
	}
	if _, err := Render("memcached", []boundary.Boundary{tags}, Asker{}); err == nil || !strings.Contains(err.Error(), "only cashews") {
		t.Errorf("an unknown library: %v", err)
	}
	if _, err := Render("cashews", []boundary.Boundary{tags}, Asker{Header: "X-\"A"}); err == nil || !strings.Contains(err.Error(), "observe.principal names") {
		t.Errorf("a header with a quote: %v", err)
	}
	if _, err := Render("cashews", nil, Asker{}); err == nil {
		t.Error("nothing was rendered without an error")
	}
}
