// The Go client (github.com/go-zookeeper/zk) against one server: what its users rely on.
package main

import (
	"io"
	"log"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/go-zookeeper/zk"
)

const sessionTimeout = 10 * time.Second

var (
	world  = zk.WorldACL(zk.PermAll)
	shared *Server
	// A directory of this run's own, so that a server that runs already serves too.
	root = "/go-" + time.Now().Format("150405.000000")
)

// client is a connection with the session events that it saw.
type client struct {
	*zk.Conn
	events <-chan zk.Event
}

func connect(address string, timeout time.Duration) *client {
	quiet := zk.WithLogger(log.New(io.Discard, "", 0))
	conn, events, err := zk.Connect([]string{address}, timeout, quiet)
	ok(err)
	// The client drops what does not fit into its own queue, which is short: a try to connect takes a place.
	kept := make(chan zk.Event, 10_000)
	go func() {
		defer close(kept)
		for event := range events {
			kept <- event
		}
	}()
	c := &client{conn, kept}
	c.await(zk.StateHasSession)
	return c
}

// await waits for a session event with this state.
func (c *client) await(state zk.State) {
	limit := time.After(patience)
	for {
		select {
		case event, open := <-c.events:
			if !open {
				fail("the client is closed, waiting for %v", state)
			}
			if event.Type == zk.EventSession && event.State == state {
				return
			}
		case <-limit:
			fail("not within %v: %v", patience, state)
		}
	}
}

// expect waits for one watch event.
func expect(watch <-chan zk.Event, kind zk.EventType, path string) {
	select {
	case event := <-watch:
		equal(event.Err, nil)
		equal(event.Type, kind)
		equal(event.Path, path)
	case <-time.After(patience):
		fail("no event %v for %s", kind, path)
	}
}

func silent(watch <-chan zk.Event) {
	select {
	case event := <-watch:
		fail("an event that nothing caused: %v", event)
	default:
	}
}

// own is a server that may be crashed.
func own() *Server {
	if shared.Ask("kind") == "external" {
		panic(skipped{"needs a server of its own"})
	}
	return NewServer()
}

func dir(c *client, name string) string {
	path := root + "-" + name
	_, err := c.Create(path, nil, 0, world)
	ok(err)
	return path
}

func createGetSetDelete() {
	c := connect(shared.Ask("start"), sessionTimeout)
	defer c.Close()
	path := dir(c, "basic")
	data, stat, err := c.Get(path)
	ok(err)
	equal(len(data), 0)
	equal(stat.Version, 0)
	equal(stat.Czxid, stat.Mzxid)
	stat, err = c.Set(path, []byte("one"), 0)
	ok(err)
	equal(stat.Version, 1)
	equal(stat.DataLength, 3)
	_, err = c.Set(path, []byte("two"), 0)
	refused(err, zk.ErrBadVersion)
	data, _, err = c.Get(path)
	ok(err)
	equal(string(data), "one")
	_, err = c.Create(path, nil, 0, world)
	refused(err, zk.ErrNodeExists)
	_, err = c.Create(path+"/a/b", nil, 0, world)
	refused(err, zk.ErrNoNode)
	_, err = c.Create(path+"/a", []byte("x"), 0, world)
	ok(err)
	refused(c.Delete(path, -1), zk.ErrNotEmpty)
	refused(c.Delete(path+"/a", 7), zk.ErrBadVersion)
	ok(c.Delete(path+"/a", 0))
	there, _, err := c.Exists(path + "/a")
	ok(err)
	equal(there, false)
	_, err = c.Sync(path)
	ok(err)
	ok(c.Delete(path, -1))
	_, _, err = c.Get(path)
	refused(err, zk.ErrNoNode)
}

func childrenAndSequentialNodes() {
	c := connect(shared.Ask("start"), sessionTimeout)
	defer c.Close()
	path := dir(c, "children")
	for _, name := range []string{"b", "a", "c"} {
		_, err := c.Create(path+"/"+name, nil, 0, world)
		ok(err)
	}
	names, stat, err := c.Children(path)
	ok(err)
	sort.Strings(names)
	equal(names, []string{"a", "b", "c"})
	equal(stat.NumChildren, 3)
	equal(stat.Cversion, 3)
	made, err := c.Create(path+"/q-", nil, zk.FlagSequence, world)
	ok(err)
	equal(made, path+"/q-0000000003")
	made, err = c.Create(path+"/q-", nil, zk.FlagEphemeralSequential, world)
	ok(err)
	equal(made, path+"/q-0000000004")
}

func containersAndTTL() {
	c := connect(shared.Ask("start"), sessionTimeout)
	defer c.Close()
	path := dir(c, "modes")
	made, err := c.CreateContainer(path+"/box", nil, zk.FlagContainer, world)
	ok(err)
	equal(made, path+"/box")
	made, err = c.CreateTTL(path+"/brief", nil, zk.FlagTTL, world, time.Hour)
	ok(err)
	equal(made, path+"/brief")
	made, err = c.CreateTTL(path+"/q", nil, zk.FlagPersistentSequentialWithTTL, world, time.Hour)
	ok(err)
	equal(made, path+"/q0000000002")
}

func watchesFireOnce() {
	address := shared.Ask("start")
	c, other := connect(address, sessionTimeout), connect(address, sessionTimeout)
	defer c.Close()
	defer other.Close()
	path := dir(c, "watch")
	node := path + "/node"
	there, _, exists, err := c.ExistsW(node)
	ok(err)
	equal(there, false)
	_, _, children, err := c.ChildrenW(path)
	ok(err)
	_, err = other.Create(node, nil, 0, world)
	ok(err)
	expect(exists, zk.EventNodeCreated, node)
	expect(children, zk.EventNodeChildrenChanged, path)
	_, _, data, err := c.GetW(node)
	ok(err)
	_, err = other.Set(node, []byte("1"), -1)
	ok(err)
	expect(data, zk.EventNodeDataChanged, node)
	_, err = other.Set(node, []byte("2"), -1)
	ok(err)
	_, _, data, err = c.GetW(node)
	ok(err)
	silent(data)
	ok(other.Delete(node, -1))
	expect(data, zk.EventNodeDeleted, node)
}

func ephemeralsGoWithTheirSession() {
	address := shared.Ask("start")
	c, other := connect(address, sessionTimeout), connect(address, sessionTimeout)
	defer other.Close()
	path := dir(c, "ephemeral")
	made, err := c.CreateProtectedEphemeralSequential(path+"/member-", nil, world)
	ok(err)
	_, stat, err := other.Get(made)
	ok(err)
	equal(stat.EphemeralOwner, c.SessionID())
	_, err = c.Create(made+"/child", nil, 0, world)
	refused(err, zk.ErrNoChildrenForEphemerals)
	_, _, gone, err := other.ExistsW(made)
	ok(err)
	c.Close()
	expect(gone, zk.EventNodeDeleted, made)
}

func multiIsAllOrNothing() {
	c := connect(shared.Ask("start"), sessionTimeout)
	defer c.Close()
	path := dir(c, "multi")
	results, err := c.Multi(
		&zk.CreateRequest{Path: path + "/a", Data: []byte("1"), Acl: world},
		&zk.SetDataRequest{Path: path + "/a", Data: []byte("2"), Version: 0},
		&zk.CheckVersionRequest{Path: path + "/a", Version: 1},
		&zk.CreateRequest{Path: path + "/b", Acl: world},
		&zk.DeleteRequest{Path: path + "/b", Version: -1},
	)
	ok(err)
	equal(len(results), 5)
	equal(results[0].String, path+"/a")
	equal(results[1].Stat.Version, 1)
	results, err = c.Multi(
		&zk.CreateRequest{Path: path + "/c", Acl: world},
		&zk.CheckVersionRequest{Path: path + "/a", Version: 9},
	)
	refused(err, zk.ErrBadVersion)
	equal(results[1].Error, zk.ErrBadVersion)
	names, _, err := c.Children(path)
	ok(err)
	equal(names, []string{"a"})
}

func digestGuardsANode() {
	address := shared.Ask("start")
	c, other := connect(address, sessionTimeout), connect(address, sessionTimeout)
	defer c.Close()
	defer other.Close()
	path := dir(c, "auth")
	ok(c.AddAuth("digest", []byte("user:secret")))
	_, err := c.Create(path+"/mine", []byte("x"), 0, zk.DigestACL(zk.PermAll, "user", "secret"))
	ok(err)
	_, _, err = other.Get(path + "/mine")
	refused(err, zk.ErrNoAuth)
	acl, stat, err := c.GetACL(path + "/mine")
	ok(err)
	equal(acl[0].Scheme, "digest")
	equal(strings.HasPrefix(acl[0].ID, "user:"), true)
	_, err = c.SetACL(path+"/mine", world, stat.Aversion)
	ok(err)
	data, _, err := other.Get(path + "/mine")
	ok(err)
	equal(string(data), "x")
	_, err = c.Create(path+"/bad", nil, 0, []zk.ACL{})
	refused(err, zk.ErrInvalidACL)
}

func lockExcludes() {
	address := shared.Ask("start")
	c, other := connect(address, sessionTimeout), connect(address, sessionTimeout)
	defer c.Close()
	defer other.Close()
	path := root + "-lock/deep"
	held, waiting := zk.NewLock(c.Conn, path, world), zk.NewLock(other.Conn, path, world)
	ok(held.Lock())
	refused(held.Lock(), zk.ErrDeadlock)
	taken := make(chan error, 1)
	go func() { taken <- waiting.Lock() }()
	until("the second one waits in line", func() bool {
		names, _, err := c.Children(path)
		ok(err)
		return len(names) == 2
	})
	select {
	case <-taken:
		fail("two hold the lock")
	default:
	}
	ok(held.Unlock())
	select {
	case err := <-taken:
		ok(err)
	case <-time.After(patience):
		fail("the lock was not handed on")
	}
	ok(waiting.Unlock())
	refused(waiting.Unlock(), zk.ErrNotLocked)
}

func lockIsFreedWhenItsHolderExpires() {
	server := own()
	defer server.Close()
	address := server.Ask("start")
	c, other := connect(server.Ask("proxy"), 4*time.Second), connect(address, sessionTimeout)
	defer c.Close()
	defer other.Close()
	ok(zk.NewLock(c.Conn, "/lock", world).Lock())
	server.Ask("cut")
	waiting := zk.NewLock(other.Conn, "/lock", world)
	ok(waiting.Lock())
	server.Ask("mend")
	c.await(zk.StateExpired)
	c.await(zk.StateHasSession)
	ok(waiting.Unlock())
}

func sessionOutlivesACrash() {
	server := own()
	defer server.Close()
	address := server.Ask("start")
	c := connect(address, 30*time.Second)
	defer c.Close()
	_, err := c.Create("/kept", []byte("before"), zk.FlagEphemeral, world)
	ok(err)
	_, _, data, err := c.GetW("/kept")
	ok(err)
	_, _, missing, err := c.ExistsW("/missing")
	ok(err)
	_, _, children, err := c.ChildrenW("/")
	ok(err)
	session := c.SessionID()
	server.Ask("kill")
	c.await(zk.StateDisconnected)
	equal(server.Ask("start"), address)
	c.await(zk.StateHasSession)
	equal(c.SessionID(), session)
	value, stat, err := c.Get("/kept")
	ok(err)
	equal(string(value), "before")
	equal(stat.EphemeralOwner, session)
	silent(data)
	_, err = c.Set("/kept", []byte("after"), -1)
	ok(err)
	expect(data, zk.EventNodeDataChanged, "/kept")
	_, err = c.Create("/missing", nil, 0, world)
	ok(err)
	expect(missing, zk.EventNodeCreated, "/missing")
	expect(children, zk.EventNodeChildrenChanged, "/")
}

func watchFiresForWhatACutHid() {
	server := own()
	defer server.Close()
	address := server.Ask("start")
	c, other := connect(server.Ask("proxy"), 30*time.Second), connect(address, sessionTimeout)
	defer c.Close()
	defer other.Close()
	_, err := other.Create("/seen", nil, 0, world)
	ok(err)
	_, _, data, err := c.GetW("/seen")
	ok(err)
	server.Ask("cut")
	c.await(zk.StateDisconnected)
	_, err = other.Set("/seen", []byte("x"), -1)
	ok(err)
	server.Ask("mend")
	c.await(zk.StateHasSession)
	expect(data, zk.EventNodeDataChanged, "/seen")
}

func expiryEndsEphemeralsAndWatches() {
	server := own()
	defer server.Close()
	address := server.Ask("start")
	c, other := connect(server.Ask("proxy"), 4*time.Second), connect(address, sessionTimeout)
	defer c.Close()
	defer other.Close()
	_, err := c.Create("/brief", nil, zk.FlagEphemeral, world)
	ok(err)
	_, _, lost, err := c.ExistsW("/never")
	ok(err)
	_, _, gone, err := other.ExistsW("/brief")
	ok(err)
	session := c.SessionID()
	server.Ask("cut")
	expect(gone, zk.EventNodeDeleted, "/brief")
	server.Ask("mend")
	c.await(zk.StateExpired)
	c.await(zk.StateHasSession)
	equal(c.SessionID() != session, true)
	select {
	case event := <-lost:
		equal(event.Err, zk.ErrSessionExpired)
	case <-time.After(patience):
		fail("the watch was not ended")
	}
}

func main() {
	var tests = []test{
		{"createGetSetDelete", createGetSetDelete},
		{"childrenAndSequentialNodes", childrenAndSequentialNodes},
		{"containersAndTTL", containersAndTTL},
		{"watchesFireOnce", watchesFireOnce},
		{"ephemeralsGoWithTheirSession", ephemeralsGoWithTheirSession},
		{"multiIsAllOrNothing", multiIsAllOrNothing},
		{"digestGuardsANode", digestGuardsANode},
		{"lockExcludes", lockExcludes},
		{"lockIsFreedWhenItsHolderExpires", lockIsFreedWhenItsHolderExpires},
		{"sessionOutlivesACrash", sessionOutlivesACrash},
		{"watchFiresForWhatACutHid", watchFiresForWhatACutHid},
		{"expiryEndsEphemeralsAndWatches", expiryEndsEphemeralsAndWatches},
	}
	code := 1
	if end := outcome(func() { shared = NewServer(); shared.Ask("start") }); end == nil {
		code = runAll(tests)
	} else {
		log.Printf("%v", end)
	}
	os.Exit(code)
}
