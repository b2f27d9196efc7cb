// agent/collect/disk.h
#include "collect_fixture.h"

#include "agent/collect/disk.h"

static bool parse(const char *line, struct disk_mount *mount)
{
    return disk_parse(rn_span_text(line), mount);
}

static void lines_of_mountinfo_are_read(void **state)
{
    (void)state;
    struct disk_mount m;
    assert_true(
        parse("36 35 98:0 / /mnt\\0402 rw,noatime master:1 shared:2 - ext3 /dev/sda1 ro,x", &m));
    assert_string_equal(m.path, "/mnt 2");
    assert_string_equal(m.device, "/dev/sda1");
    assert_string_equal(m.fstype, "ext3");
    assert_string_equal(m.number, "98:0");
    assert_string_equal(m.mode, "ro");
    assert_true(parse("36 35 98:0 / / rw - ext3 none", &m));
    assert_string_equal(m.device, "ext3");
    assert_string_equal(m.mode, "rw");
}

static void malformed_lines_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "36 35 98:0 / / rw",
        "36 35 98:0 / / rw -",
        "36 35 98:0 / / rw - ext3",
        "36 35 98:0 / / rw ext3 /dev/sda1 rw",
        "36 35 98:0 / relative rw - ext3 /dev/sda1 rw",
        "36 35 98:012345678901234 / / rw - ext3 /dev/sda1 rw",
        "36 35 98:0 / / rw - a-filesystem-type-that-is-far-too-long x rw"};
    struct disk_mount m;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(parse(bad[i], &m));
    char line[600];
    snprintf(line, sizeof line, "36 35 98:0 / /%0300d rw - ext3 /dev/sda1 rw", 0);
    assert_false(parse(line, &m));
}

static void usage_is_in_the_largest_block_that_divides_the_unit(void **state)
{
    (void)state;
    uint64_t v[DISK_FIELDS];
    uint32_t mul;
    struct statvfs fs = {.f_frsize = 8192,
                         .f_blocks = 100,
                         .f_bfree = 40,
                         .f_bavail = 20,
                         .f_files = 3,
                         .f_ffree = 1};
    disk_usage(&fs, v, &mul);
    assert_int_equal(mul, 4096);
    assert_int_equal(v[DISK_TOTAL], 200);
    assert_int_equal(v[DISK_FREE], 40);
    assert_int_equal(v[DISK_USED], 120);
    assert_int_equal(v[DISK_USED_PERCENT], 7500);
    assert_int_equal(v[DISK_INODES_USED_PERCENT], 6667);
    fs.f_frsize = 1024;
    disk_usage(&fs, v, &mul);
    assert_true(mul == 512 && v[DISK_TOTAL] == 200);
    fs.f_frsize = 1000;
    disk_usage(&fs, v, &mul);
    assert_true(mul == 1 && v[DISK_TOTAL] == 100000);
}

static void absurd_filesystems_stay_within_bounds(void **state)
{
    (void)state;
    uint64_t v[DISK_FIELDS];
    uint32_t mul;
    struct statvfs fs = {.f_frsize = 1 << 30,
                         .f_blocks = UINT64_MAX,
                         .f_bfree = 1,
                         .f_bavail = UINT64_MAX,
                         .f_files = 1,
                         .f_ffree = 5};
    disk_usage(&fs, v, &mul);
    assert_int_equal(v[DISK_TOTAL], UINT64_MAX);
    assert_int_equal(v[DISK_INODES_USED], 0);
    assert_true(v[DISK_USED_PERCENT] <= 10000);
    memset(&fs, 0, sizeof fs);
    disk_usage(&fs, v, &mul);
    assert_int_equal(v[DISK_USED_PERCENT], 0);
}

static int full_statvfs(const char *path, struct statvfs *out)
{
    *out = (struct statvfs){.f_frsize = 4096, .f_blocks = 10, .f_bfree = 5, .f_bavail = 5};
    return strstr(path, "/gone") ? -1 : 0;
}

#define TABLE                                                                                      \
    "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:1 / /t rw - tmpfs tmpfs rw\n"                       \
    "3 1 0:2 / /n rw - nfs server:/x rw\n4 1 0:3 / /auto rw - autofs a rw\n"                       \
    "5 1 0:4 / /gone rw - ext4 /dev/sdb1 rw\n6 1 0:2 / /n2 rw - nfs /dev/ rw\n"

static int count_with(struct fixture *f, void (*set)(struct disk_conf *))
{
    struct subject s = subject_open(f, &collect_disk);
    if (set)
        set(s.conf);
    fixture_clear(f);
    assert_int_equal(subject_sample(f, &s, 0), 0);
    subject_close(&s);
    return f->points;
}

static void set_network(struct disk_conf *conf)
{
    assert_false(conf->network);
    conf->network = true;
}

static void set_no_ignored(struct disk_conf *conf)
{
    assert_int_equal(conf->ignore_fs.count, 7);
    conf->ignore_fs.count = 0;
}

static void set_one_mount(struct disk_conf *conf)
{
    conf->mount_points.count = 1;
    strcpy(conf->mount_points.item[0], "/elsewhere");
}

static void the_options_choose_filesystems(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init_tree(&f);
    f.env.statvfs = full_statvfs;
    fixture_write(&f, "proc/self/mountinfo", TABLE);
    assert_int_equal(count_with(&f, NULL), 1);
    assert_string_equal(f.out,
                        "disk,device=sda1,fstype=ext4,mode=rw,path=/ total=40960i,free=20480i,"
                        "used=20480i,used_percent=50.00,inodes_total=0i,inodes_free=0i,"
                        "inodes_used=0i,inodes_used_percent=0.00\n");
    assert_int_equal(count_with(&f, set_network), 3);
    assert_non_null(fixture_value(&f, "disk,device=none,fstype=nfs,mode=rw,path=/n2", "total"));
    assert_non_null(fixture_value(&f, "disk,device=server:/x,fstype=nfs,mode=rw,path=/n", "total"));
    assert_int_equal(count_with(&f, set_no_ignored), 2);
    assert_non_null(fixture_value(&f, "disk,device=tmpfs,fstype=tmpfs,mode=rw,path=/t", "total"));
    assert_int_equal(count_with(&f, set_one_mount), 0);
    fixture_release(&f);
}

static void a_thousand_mounts_are_bounded_and_counted(void **state)
{
    (void)state;
    struct fixture f;
    struct rn_buf text;
    fixture_init_tree(&f);
    f.env.statvfs = full_statvfs;
    rn_buf_init(&text, 1 << 20);
    for (int i = 0; i < 1000; i++)
        rn_buf_printf(&text, "%d 1 0:9 / /m%d rw - ext4 /dev/sda%d rw\n", i, i, i);
    rn_buf_text(&text, "cut 1 0:9 /");
    fixture_write_bytes(&f, "proc/1/mountinfo", text.data, text.len);
    rn_buf_release(&text);
    assert_int_equal(count_with(&f, NULL), DISK_MAX_MOUNTS);
    assert_int_equal(f.left_out, 1000 - DISK_MAX_MOUNTS + 1);
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_mountinfo_are_read),
        cmocka_unit_test(malformed_lines_are_refused),
        cmocka_unit_test(usage_is_in_the_largest_block_that_divides_the_unit),
        cmocka_unit_test(absurd_filesystems_stay_within_bounds),
        cmocka_unit_test(the_options_choose_filesystems),
        cmocka_unit_test(a_thousand_mounts_are_bounded_and_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
