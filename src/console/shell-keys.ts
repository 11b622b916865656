/** The keys that end a program: interrupt twice, then quit, for one that catches the first. */
export const ENDING_KEYS = ['\x03', '\x03', '\x1c']
export const KEY_PATIENCE_MS = 2000
/** The key that takes back what was typed of a line. */
export const KILL_KEY = '\x15'
/** How long a shell that is back may take to answer on a machine that is short of time. */
export const SYNC_PATIENCE_MS = 30_000
/** The end of a file, which a shell ends at. */
export const END_KEY = '\x04'
