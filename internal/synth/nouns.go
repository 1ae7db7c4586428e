package synth

// noun is a thing that a service keeps: the name of one is part of cache keys and of code, the name of many is its table.
type noun struct{ one, many string }

const nounsOfRoutes = 40

// nouns are all things, in an order that follows the seed: the first are for ordinary traffic, the others for stories.
func (t *Traffic) nouns() []noun {
	list := make([]noun, 0, len(things))
	for _, s := range things {
		n := noun{s, plural(s)}
		list = append(list, n)
	}
	r := newRNG(t.opt.Seed, 11)
	for i := len(list) - 1; i > 0; i-- {
		j := r.below(int64(i + 1))
		list[i], list[j] = list[j], list[i]
	}
	return list
}

var things = []string{
	"account", "agent", "album", "answer", "article", "artist", "asset", "author", "badge", "banner", "basket", "batch",
	"bill", "blog", "board", "book", "booking", "branch", "brand", "bundle", "campaign", "card", "carrier", "catalog", "category",
	"channel", "chapter", "charge", "city", "claim", "client", "clinic", "collection", "comment", "company", "contact", "contract",
	"country", "coupon", "course", "customer", "deal", "delivery", "depot", "device", "diagram", "dish", "doctor", "document",
	"driver", "event", "exam", "expense", "factory", "feature", "filter", "flight", "form", "forum", "garage", "gift", "grant", "guide",
	"holiday", "hotel", "image", "invoice", "issue", "item", "journey", "label", "lecture", "lesson", "library", "license", "listing",
	"location", "machine", "manual", "market", "match", "meal", "member", "menu", "message", "module", "movie", "offer", "office",
	"order", "package", "parcel", "partner", "payment", "photo", "plan", "playlist", "policy", "post", "price", "product", "profile",
	"project", "proposal", "question", "quote", "rating", "receipt", "recipe", "refund", "region", "report", "request", "review",
	"reward", "role", "room", "route", "sample", "schedule", "seat", "segment", "seller", "sensor", "service", "setting",
	"shift", "shipment", "signal", "skill", "song", "source", "stock", "store", "story", "student", "subject", "supplier", "survey",
	"tariff", "task", "team", "template", "ticket", "topic", "track", "trip", "unit", "vehicle", "vendor", "venue", "video",
	"visit", "voucher", "warehouse", "widget", "workshop", "zone",
}
