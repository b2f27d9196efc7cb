// The model of encoding 2: which decision is coded with which probability, and what the
// probabilities are at the start of a batch (the prior). Part of the protocol: a published prior
// never changes; schemas/prior-1.txt is the same table for other implementations.
#ifndef WIRE_MODEL_H
#define WIRE_MODEL_H

#include <runnel/wire.h>

#include <stdint.h>

#define MODEL_LEVELS     21 // of the usual size of differences, in bits; more counts as the last
#define MODEL_FIRSTS     28 // of the usual size of first numbers
#define MODEL_SIZE       21 // decisions about the size of a number: 1 split, 10 up, 10 down
#define MODEL_SIZE_STEPS 10
#define MODEL_TOP_BITS   24 // sizes with probabilities of their own for the bits after the highest
#define MODEL_ODD        (2 + MODEL_SIZE) // a number of another sort: zero, sign, size

#define MODEL_KNOWN      1024 // literals and texts of the batch that can be referred to
#define MODEL_KNOWN_TREE 256  // slots that texts use; literals have four for each
#define MODEL_TEXT_KINDS 3    // of the byte before: letter, digit, other
#define MODEL_TEXT_RUNS  16   // bytes guessed right in a row; more count as the last

// Numbers of other sorts.
enum model_odd { ODD_TIME, ODD_TEXT_LENGTH, ODD_LITERAL, ODD_UNIT, ODD_SORTS };

// Where the probabilities of a sort begin.
enum model_at {
    AT_ZERO = 0,                                              // [level][recent 4][neighbour 3]
    AT_SIGN = AT_ZERO + MODEL_LEVELS * 4 * 3,                 // [level][counter 2][last sign 3]
    AT_SIZE = AT_SIGN + MODEL_LEVELS * 6,                     // [level][recent 4][MODEL_SIZE]
    AT_FIRST_ZERO = AT_SIZE + MODEL_LEVELS * 4 * MODEL_SIZE,  // [first]
    AT_FIRST_SIGN = AT_FIRST_ZERO + MODEL_FIRSTS,             // [first]
    AT_FIRST_SIZE = AT_FIRST_SIGN + MODEL_FIRSTS,             // [first][MODEL_SIZE]
    AT_TOP = AT_FIRST_SIZE + MODEL_FIRSTS * MODEL_SIZE,       // [size][3]
    AT_VARIES = AT_TOP + MODEL_TOP_BITS * 3,                  // [step hint, 64]
    AT_MISSING = AT_VARIES + 64,                              // [column before 2]
    AT_PRESENT = AT_MISSING + 2,                              // [column before 2][cell before 2]
    AT_UNITS = AT_PRESENT + 4,                                // [column before 2]
    AT_LITERALS = AT_UNITS + 2,                               // [column before 2]
    AT_LITERAL = AT_LITERALS + 2,                             // [cell before 2]
    AT_TEXT_SAME = AT_LITERAL + 2,                            // [cell before 2]
    AT_KNOWN = AT_TEXT_SAME + 2,                              // [text 2][value before 2]
    AT_KNOWN_SLOT = AT_KNOWN + 4,                             // [256], a tree of 8 levels
    AT_TEXT_GUESS = AT_KNOWN_SLOT + MODEL_KNOWN_TREE,         // [run]
    AT_TEXT_BYTE = AT_TEXT_GUESS + MODEL_TEXT_RUNS,           // [kind][256], trees of 8 levels
    AT_LITERAL_ZEROS = AT_TEXT_BYTE + MODEL_TEXT_KINDS * 256, // [64], a tree of 6 levels
    AT_ODD = AT_LITERAL_ZEROS + 64,                           // [sort][MODEL_ODD]
    MODEL_ODDS = AT_ODD + ODD_SORTS * MODEL_ODD,
};

extern const uint16_t model_prior_p[MODEL_ODDS];
extern const uint8_t model_prior_seen[MODEL_ODDS];

#define MODEL_NEIGHBOURS 512 // ticks whose activity in the column before is remembered
#define MODEL_LEARNED    256 // fields whose habits the next series of a group starts from
#define MODEL_NOT_KNOWN  UINT16_MAX
#define MODEL_PLACES     256 // in texts, by the three bytes before

struct model {
    uint16_t p[MODEL_ODDS];
    uint8_t seen[MODEL_ODDS];
    uint8_t
        near[MODEL_NEIGHBOURS / 4]; // 2 bits each; 0: no difference, 1: below the usual, 2: above
    struct rn_hint learned[MODEL_LEARNED];
    uint16_t known[MODEL_KNOWN];   // cells, by a hash of what is in them
    uint32_t places[MODEL_PLACES]; // 1 + 65,536 x cell + byte in its text; 0: none
};

_Static_assert(sizeof(struct model) <= RN_RANGE_WORK, "work memory of encoding 2");

#endif
