package oxkeeper.compat;

import java.io.Closeable;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Collectors;
import org.apache.curator.framework.recipes.cache.ChildData;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.NodeCache;
import org.apache.curator.framework.recipes.cache.PathChildrenCache;
import org.apache.curator.framework.recipes.cache.TreeCache;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Curator's caches: what they hold becomes the tree that is there, whatever far did not see happen. */
@SuppressWarnings("deprecation")
class CuratorCachesTest extends CuratorFixture {
    /** Which part of the tree below `top` a cache keeps. */
    private enum Part { NODE, CHILDREN, TREE }

    private String top;

    private void plant() throws Exception {
        top = root + "/tree";
        for (String path : new String[] {"", "/a", "/b", "/c", "/d", "/a/x", "/a/y"}) {
            near.create().forPath(top + path, bytes("first " + path));
        }
    }

    /** A round of changes of every kind. */
    private void change(int round) throws Exception {
        near.setData().forPath(top, bytes("round " + round));
        near.setData().forPath(top + "/c", bytes("round " + round));
        near.delete().deletingChildrenIfNeeded().forPath(top + "/a");
        near.create().forPath(top + "/a", bytes("again"));
        near.delete().forPath(top + "/d");
        near.create().forPath(top + "/d", bytes(""));
        // CuratorCache tells a znode that was made anew while it was away from the one it knew only by its versions: it
        // lists the children if cversion is another, and tells its listeners if version is.
        for (int i = 0; i <= round; i++) {
            near.create().forPath(top + "/a/x" + round + i, bytes("new"));
            near.setData().forPath(top + "/d", bytes("other " + round));
        }
        near.delete().forPath(round == 0 ? top + "/b" : top + "/new" + (round - 1));
        near.create().creatingParentsIfNeeded().forPath(top + "/deep/down/" + round, bytes("leaf"));
        near.setData().forPath(top + "/deep", bytes("deep " + round));
        near.setData().forPath(top + "/deep/down", bytes("down"));
        near.create().forPath(top + "/new" + round, bytes("new"));
    }

    private void read(String path, int depth, Map<String, String> into) throws Exception {
        into.put(path, text(near.getData().forPath(path)));
        for (String child : depth > 0 ? near.getChildren().forPath(path) : List.<String>of()) {
            read(path + "/" + child, depth - 1, into);
        }
    }

    private Map<String, String> truth(Part part) throws Exception {
        Map<String, String> all = new TreeMap<>();
        if (near.checkExists().forPath(top) != null) {
            read(top, switch (part) {
                case NODE -> 0;
                case CHILDREN -> 1;
                case TREE -> 9;
            }, all);
        }
        if (part == Part.CHILDREN) {
            all.remove(top);
        }
        return all;
    }

    /** Returns when the cache holds what there is; nothing changes meanwhile. */
    private void agree(String when, Part part, Callable<Map<String, String>> cache) throws Exception {
        Map<String, String> truth = truth(part);
        try {
            until(when, () -> cache.call().equals(truth));
        } catch (AssertionError e) {
            throw new AssertionError(when + ": the cache holds " + cache.call() + " instead of " + truth, e);
        }
    }

    /** Far's cache agrees with the tree before, after changes it did not see, and after changes it did see. */
    private void follow(Part part, Callable<Map<String, String>> cache, Closeable end) throws Exception {
        agree("at the start", part, cache);
        change(0);
        agree("after changes", part, cache);
        down();
        change(1);
        up();
        agree("after changes while far was away", part, cache);
        change(2);
        agree("after changes once far was back", part, cache);
        down();
        near.delete().deletingChildrenIfNeeded().forPath(top);
        up();
        agree("after all was deleted while far was away", part, cache);
        end.close();
    }

    private static Map<String, String> map(Collection<ChildData> all) {
        return all.stream().collect(Collectors.toMap(ChildData::getPath, one -> text(one.getData())));
    }

    @Troubled
    void nodeCache(Trouble trouble) throws Exception {
        begin(trouble);
        plant();
        NodeCache cache = new NodeCache(far, top);
        cache.start(true);
        follow(Part.NODE, () -> {
            ChildData now = cache.getCurrentData();
            return now == null ? Map.of() : map(List.of(now));
        }, cache);
    }

    @Troubled
    void pathChildrenCache(Trouble trouble) throws Exception {
        begin(trouble);
        plant();
        PathChildrenCache cache = new PathChildrenCache(far, top, true);
        cache.start(PathChildrenCache.StartMode.BUILD_INITIAL_CACHE);
        follow(Part.CHILDREN, () -> map(cache.getCurrentData()), cache);
    }

    @Troubled
    void treeCache(Trouble trouble) throws Exception {
        begin(trouble);
        plant();
        TreeCache cache = new TreeCache(far, top);
        cache.start();
        follow(Part.TREE, () -> {
            Map<String, String> all = new TreeMap<>();
            collect(cache, top, all);
            return all;
        }, cache);
    }

    private static void collect(TreeCache cache, String path, Map<String, String> into) {
        ChildData here = cache.getCurrentData(path);
        Map<String, ChildData> children = cache.getCurrentChildren(path);
        if (here != null && children != null) {
            into.put(path, text(here.getData()));
            children.keySet().forEach(child -> collect(cache, path + "/" + child, into));
        }
    }

    @Troubled
    void curatorCache(Trouble trouble) throws Exception {
        begin(trouble);
        plant();
        CuratorCache cache = CuratorCache.build(far, top);
        cache.start();
        follow(Part.TREE, () -> map(cache.stream().toList()), cache);
    }

    /** What a listener was told adds up to the tree: nothing missing, nothing left over. */
    @Troubled
    void curatorCacheListener(Trouble trouble) throws Exception {
        begin(trouble);
        plant();
        Map<String, String> told = new ConcurrentHashMap<>();
        CuratorCache cache = CuratorCache.build(far, top);
        cache.listenable().addListener((type, before, after) -> {
            switch (type) {
                case NODE_CREATED, NODE_CHANGED -> told.put(after.getPath(), text(after.getData()));
                case NODE_DELETED -> told.remove(before.getPath());
            }
        });
        cache.start();
        follow(Part.TREE, () -> told, cache);
    }

    @ParameterizedTest(name = "{0}")
    @EnumSource(names = {"NONE", "CUT"})
    void curatorCacheOfASingleNode(Trouble trouble) throws Exception {
        begin(trouble);
        plant();
        CuratorCache cache = CuratorCache.build(far, top, CuratorCache.Options.SINGLE_NODE_CACHE);
        cache.start();
        follow(Part.NODE, () -> map(cache.stream().toList()), cache);
    }
}
