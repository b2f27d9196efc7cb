// Makes the n-th allocation, write, sync, read or opening of the program fail. Linked into every
// fault test.
//
// Allocations: those of our own objects (the linker redirects them; libraries keep theirs). The
// others: those of the shared libraries too (SQLite), because the program's own definitions of
// write(2), fsync(2) and their kin come first. One fault is armed at a time; any thread may meet
// it.
//
//     for (long n = 1;; n++) {
//         faults_arm(FAULT_ALLOC, n, 0);
//         int rc = scenario();
//         if (!faults_disarm())
//             break; // the scenario makes fewer than n allocations: all were tried
//         assert_int_equal(rc, RN_ENOMEM);
//     }
#ifndef TESTS_SUPPORT_FAULTS_H
#define TESTS_SUPPORT_FAULTS_H

#include <stdbool.h>

enum fault {
    FAULT_ALLOC = 1,  // malloc, calloc, realloc, strdup
    FAULT_WRITE = 2,  // write, pwrite, ftruncate
    FAULT_SYNC = 4,   // fsync, fdatasync
    FAULT_STICKY = 8, // or-ed in: every later one fails too, as on a disk that stays full
    FAULT_READ = 16,  // read, pread, of files; readdir
    FAULT_OPEN = 32,  // open, access
    FAULT_SQL = 64,   // allocations of SQLite
};

// From now on the nth call (1 is the next) of the kinds in `what` fails with this errno.
void faults_arm(unsigned what, long nth, int error);
// Ends it; true if a call was made to fail.
bool faults_disarm(void);

// From now on the first sector of this file, whatever its name, cannot be read: EIO. NULL: of none.
void faults_lose_sector(const char *path);

#endif
