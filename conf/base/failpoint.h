/* Named failure points, for tests: crash, fail or delay at the n-th hit. Nothing in release builds.
 *
 * Set from outside by the environment variable VQ_FAILPOINTS or the file it names after '@', read again at each hit of
 * a changed file: one "name=action[@n]" per word, action one of crash, error, delay:MS, freeze; n counts hits from 1
 * (default: every hit). Each name hit is appended once to the file of VQ_FAILPOINTS_HIT, so that a test can tell
 * that every name was reached. */
#pragma once

#include <stdbool.h>

#ifdef VQ_FAILPOINTS
/* True when the caller must act as if the operation failed. May not return (crash) or return late (delay). */
bool vq_failpoint_hit(const char *name);
#define VQ_FAILPOINT(name) vq_failpoint_hit(name)
#else
#define VQ_FAILPOINT(name) false
#endif
