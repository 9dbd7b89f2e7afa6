/* A TCG plugin for qemu-user that counts the instructions a guest executes, between markers that the guest sets.
 *
 * The guest marks a place by getpgid(MAGIC | code), which fails and does nothing else. The plugin then writes a line to
 * the file `out`:
 *     mark <code> <instructions so far> <the same by kind, KINDS numbers>
 * Between code PROFILE_ON and PROFILE_OFF it also counts by translation block, and then writes for each one that ran
 *     block <guest address> <instructions> <times run>
 *
 * Debian ships no header, so the few prototypes stand here, as qemu 7.2 documents them (plugin API version 1).
 * Counting is inline code of the block: one guest thread only, which is what the measurement uses.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 = 0 };

typedef void (*translate_cb)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*syscall_cb)(qemu_plugin_id_t, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                           uint64_t, uint64_t, uint64_t);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, translate_cb);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, enum qemu_plugin_op, void *, uint64_t);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t, syscall_cb);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

#define GETPGID 155 /* its number on aarch64 */
#define MAGIC 0x45430000u
#define PROFILE_ON 1
#define PROFILE_OFF 2

/* Kinds of A64 instructions, by their encoding (Arm ARM, C4.1). */
enum { DOT_PRODUCT, FLOAT_MULTIPLY_ADD, WIDENING_MULTIPLY, LOAD_STORE, BRANCH, OTHER, KINDS };

static int kind_of(uint32_t op)
{
    if ((op & 0x9F20FC00) == 0x0E009400 || (op & 0x9F00F400) == 0x0F00E000 || /* SDOT, UDOT; the same by element */
        (op & 0xDFE0F400) == 0x4E80A400)                                        /* SMMLA, UMMLA, USMMLA */
        return DOT_PRODUCT;
    if ((op & 0xBF20FC00) == 0x0E20CC00 || (op & 0xBF80F400) == 0x0F801000 || /* FMLA, FMLS; FMLA by element */
        (op & 0xBF60FC00) == 0x0E400C00 || (op & 0xBFC0F400) == 0x0F001000 || /* in half precision */
        (op & 0xFF000000) == 0x1F000000)                                        /* FMADD and its kin */
        return FLOAT_MULTIPLY_ADD;
    if ((op & 0x9F20FC00) == 0x0E208000 || (op & 0x9F20FC00) == 0x0E20C000 || /* SMLAL, SMULL and unsigned */
        (op & 0x9F00F400) == 0x0F002000 || (op & 0x9F00F400) == 0x0F00A000)   /* by element */
        return WIDENING_MULTIPLY;
    if ((op & 0x0A000000) == 0x08000000)
        return LOAD_STORE;
    if ((op & 0x1C000000) == 0x14000000)
        return BRANCH;
    return OTHER;
}

struct block {
    uint64_t runs, runs_before, address;
    uint32_t instructions;
    uint32_t kinds[KINDS];
    struct block *next;
};

static struct block *blocks;
static FILE *out;

/* One entry a translation: a block that is translated again gets another, and both count. */
static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    (void)id;
    struct block *block = calloc(1, sizeof *block);
    if (block == NULL)
        abort();
    block->address = qemu_plugin_tb_vaddr(tb);
    block->instructions = (uint32_t)qemu_plugin_tb_n_insns(tb);
    for (size_t i = 0; i < block->instructions; i++) {
        uint32_t op;
        memcpy(&op, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(tb, i)), sizeof op);
        block->kinds[kind_of(op)]++;
    }
    block->next = blocks;
    blocks = block;
    qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &block->runs, 1);
}

static void called(qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4,
                   uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)id, (void)cpu, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number != GETPGID || ((uint32_t)a1 & 0xFFFF0000u) != MAGIC)
        return;
    unsigned code = (uint32_t)a1 & 0xFFFFu;
    uint64_t total = 0, kinds[KINDS] = {0};
    for (struct block *b = blocks; b != NULL; b = b->next) {
        total += b->runs * b->instructions;
        for (int kind = 0; kind < KINDS; kind++)
            kinds[kind] += b->runs * b->kinds[kind];
        if (code == PROFILE_ON)
            b->runs_before = b->runs;
        if (code == PROFILE_OFF && b->runs != b->runs_before)
            fprintf(out, "block %" PRIx64 " %" PRIu32 " %" PRIu64 "\n", b->address, b->instructions,
                    b->runs - b->runs_before);
    }
    fprintf(out, "mark %u %" PRIu64, code, total);
    for (int kind = 0; kind < KINDS; kind++)
        fprintf(out, " %" PRIu64, kinds[kind]);
    fputc('\n', out);
    fflush(out);
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info,
                                                               int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++)
        if (strncmp(argv[i], "out=", 4) == 0)
            out = fopen(argv[i] + 4, "w");
    if (out == NULL) {
        fputs("count_instructions: cannot write its output; say out=FILE\n", stderr);
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    return 0;
}
