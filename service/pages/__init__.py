"""Pages for people: server-rendered, everything served from here, readable without scripts."""
