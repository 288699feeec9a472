package oxkeeper.compat;

/** What happens to the client `far` in the middle of a recipe. */
enum Trouble {
    /** Nothing: the recipe on a good day. */
    NONE,
    /** The connection breaks and comes back before the session times out. */
    CUT,
    /** The wire stays dead until the session timed out, at the client and at the server. */
    EXPIRED,
    /** The server ends the session while the client is away; it is told so when it comes back. */
    ENDED;

    /** Whether the client comes back with another session. */
    boolean endsSession() {
        return this == EXPIRED || this == ENDED;
    }
}
