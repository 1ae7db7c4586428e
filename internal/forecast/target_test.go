package forecast

import (
	"slices"
	"testing"
)

func TestInputsOfTargets(t *testing.T) {
	for _, c := range []struct {
		route, target string
		want          []string
	}{
		{"/articles/{slug}", "/articles/a?page=2&utm_source=x", []string{"path.slug", "query.page", "query.utm_source"}},
		{"/articles/{slug}", "/api/articles/a", []string{"path.mount", "path.slug"}},
		{"/files/{name:path}", "/files/a/b/c", []string{"path.name"}},
		{"/files/{name:path}/raw", "/files/a/b/raw", []string{"path.name"}},
		{"/u/<int:id>/<slug>", "/u/7/x", []string{"path.id", "path.slug"}},
		{"/x/{id:int}.json", "/x/7.json", []string{"path.id"}},
		{"/tags", "/api/tags?", nil},
		{"/tags", "/other", []string{"path"}},
		{"/a/{b}/c", "/a/c", []string{"path"}},
		{"", "/a?b=1", []string{"path", "query.b"}},
		{"/s", "/s?q=a&q=b&%71=c&a+b=1&=3&&x", []string{"query.q", "query.*", "query.x"}},
	} {
		n := names{ids: map[string]uint32{}}
		var got []string
		for _, in := range appendTarget(nil, &n, c.route, c.target) {
			got = append(got, n.text(in.name))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s of %s: %q, %q was expected", c.target, c.route, got, c.want)
		}
	}
}

func TestTargetValues(t *testing.T) {
	values := func(target string) uint64 {
		n := names{ids: map[string]uint32{}}
		h := uint64(0)
		for _, in := range appendTarget(nil, &n, "/a/{b}", target) {
			h = mix(h, in.hash)
		}
		return h
	}
	if values("/a/1?q=a&q=b") == values("/a/1?q=b&q=a") {
		t.Error("the order of equal names is lost")
	}
	if values("/a/1") == values("/a/2") {
		t.Error("two paths have one value")
	}
}

func FuzzTarget(f *testing.F) {
	f.Add("/articles/{slug}", "/api/articles/a?page=2&page=3&%zz=%41")
	f.Add("/f/{p:path}/x/<int:n>", "/f///x/1??&&==")
	f.Fuzz(func(t *testing.T, route, target string) {
		n := names{ids: map[string]uint32{}}
		list := appendTarget(nil, &n, route, target)
		again := appendTarget(nil, &n, route, target)
		if !slices.Equal(list, again) {
			t.Fatalf("%v, then %v", list, again)
		}
		if len(list) > maxInputs+1+len(route) {
			t.Fatalf("%d inputs", len(list))
		}
		for _, in := range list {
			if in.hash == 0 || in.name == 0 {
				t.Fatalf("an input without a name or value: %+v", in)
			}
		}
	})
}
