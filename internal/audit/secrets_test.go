package audit

import (
	"strings"
	"testing"
)

// Tokens are put together here, so that they stand nowhere as they are.
var (
	aws    = "AKIA" + "Q3EGRT7UZ5YWV2KL"
	github = "ghp_" + strings.Repeat("a1B2", 9)
	jwt    = "eyJhbGciOiJIUzI1" + ".eyJzdWIiOiI0MiJ9." + "c2lnbmF0dXJlLXRoYXQ"
	key    = "-----BEGIN RSA " + "PRIVATE KEY-----"
)

func TestSecrets(t *testing.T) {
	for _, tc := range []struct {
		form       Form
		line, kind string // kind "": no secret
		secret     string
	}{
		{Prose, "id " + aws + " here", "AWS access key", aws},
		{Python, "KEY = '" + github + "'", "GitHub token", github},
		{Prose, "Authorization: Bearer " + jwt, "JSON Web Token", jwt},
		{Prose, key, "private key", key},
		{YAML, "url: postgresql://app:s3cretpw@db/x", "password in an address", "s3cretpw"},
		{YAML, "url: postgresql://app:${PASSWORD:?set it}@db/x", "", ""},
		{Python, `raise ValueError("sqlite:///FILE or postgresql+asyncpg://USER@HOST/NAME")`, "", ""},
		{Python, `SECRET_KEY = "k3Jf9aZq82mL"`, "value of SECRET_KEY", "k3Jf9aZq82mL"},
		{Python, `    api_key: str = "k3Jf9aZq82mL"`, "value of api_key", "k3Jf9aZq82mL"},
		{Python, `app.config["SECRET_KEY"] = "k3Jf9aZq82mL"`, "value of SECRET_KEY", "k3Jf9aZq82mL"},
		{Python, `SECRET_KEY = os.environ["SECRET_KEY"]`, "", ""},
		{Python, `SECRET_KEY = os.environ.get("SECRET_KEY", "fallback-7f3")`, "value of SECRET_KEY", "fallback-7f3"},
		{Python, `SECRET_KEY = os.getenv("SECRET_KEY_FILE")`, "", ""},
		{Python, `DEMO_PASSWORD = "conduit-demo"`, "", ""},
		{Python, `fields = {"password": "password", "token": "is missing"}`, "", ""},
		{Python, `user = {"email": mail, "password": "not-the-password"}`, "", ""},
		{Python, `token = "Bearer"`, "", ""},
		{Python, `MIN_SECRET_BYTES = 32`, "", ""},
		{Env, "API_KEY=k3Jf9aZq82mL", "value of API_KEY", "k3Jf9aZq82mL"},
		{Env, "API_KEY=", "", ""},
		{Env, "API_KEY=your-key-here", "", ""},
		{Env, "# API_KEY is set by the platform", "", ""},
		{YAML, "      POSTGRES_PASSWORD: correct-horse-7", "value of POSTGRES_PASSWORD", "correct-horse-7"},
		{YAML, "      - POSTGRES_PASSWORD=correct-horse-7", "value of POSTGRES_PASSWORD", "correct-horse-7"},
		{YAML, "  secrets: {PGPASSWORD: env:SHOP_DB_PASSWORD}", "", ""},
		{YAML, "  env: {PASSWORD: hunter2222}", "value of PASSWORD", "hunter2222"},
		{YAML, `      PASSWORD: "${PASSWORD}"`, "", ""},
		{TOML, `password = "hunter2222"`, "value of password", "hunter2222"},
		{Docker, "ENV API_TOKEN k3Jf9aZq82mL", "value of API_TOKEN", "k3Jf9aZq82mL"},
		{Redis, "requirepass swordfish", "password on a command line", "swordfish"},
		{Prose, "login password=hunter-two ok", "value of password", "hunter-two"},
		{Prose, "password: wrong or missing", "", ""},
		{Prose, "token=~0c52ab34ff019e7d", "", ""},
		{Prose, "token=***", "", ""},
		{Prose, "GET /reset?token=8f3a9c1b7d HTTP/1.1", "value of token", "8f3a9c1b7d"},
	} {
		found := Secrets(tc.line, tc.form)
		switch {
		case tc.kind == "" && len(found) > 0:
			t.Errorf("%q: invented %s %q", tc.line, found[0].Kind, tc.line[found[0].From:found[0].To])
		case tc.kind != "" && len(found) != 1:
			t.Errorf("%q: %d found, %+v", tc.line, len(found), found)
		case tc.kind != "" && (found[0].Kind != tc.kind || tc.line[found[0].From:found[0].To] != tc.secret):
			t.Errorf("%q: %s %q", tc.line, found[0].Kind, tc.line[found[0].From:found[0].To])
		}
	}
}

func TestPersonalDataAndSessions(t *testing.T) {
	for line, want := range map[string]int{
		"login of ada@conduit.example":                1,
		"GET /users?mail=ada%40conduit.example":       1,
		"connected to redis://:pw@cache.example:6379": 0,
		"asked by postgres://app@db.example/x":        0,
		"@router.get(\"/user\")":                      0,
	} {
		if n := len(Emails(line)); n != want {
			t.Errorf("%q: %d addresses, %d expected", line, n, want)
		}
	}
	for line, want := range map[string]int{
		"session_id=s3ss10n4f9a8b": 1, "Cookie: sessionid=ab12cd34ef; x=1": 1, "session_id=***": 0, "session closed": 0, "sid=none": 0,
	} {
		if n := len(Sessions(line)); n != want {
			t.Errorf("%q: %d sessions, %d expected", line, n, want)
		}
	}
}

func FuzzSecrets(f *testing.F) {
	for _, line := range []string{aws, key, `SECRET_KEY = "k3Jf9aZq82mL"`, "url: postgresql://app:s3cretpw@db/x", "a@b.cd", "session_id=s3ss10n4f9a8b", "\xff\x00'\""} {
		for form := Prose; form <= Redis; form++ {
			f.Add(line, int(form))
		}
	}
	f.Fuzz(func(t *testing.T, line string, form int) {
		found := Secrets(line, Form(form))
		for i, s := range found {
			if s.From < 0 || s.From >= s.To || s.To > len(line) || s.Kind == "" {
				t.Fatalf("%+v of %q", s, line)
			}
			for _, o := range found[:i] {
				if s.From < o.To && o.From < s.To {
					t.Fatalf("%+v and %+v overlap", s, o)
				}
			}
		}
		for _, s := range append(Emails(line), Sessions(line)...) {
			if s.From < 0 || s.From >= s.To || s.To > len(line) {
				t.Fatalf("%+v of %q", s, line)
			}
		}
	})
}
