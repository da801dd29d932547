/* Runs a fuzz target over the files of the folders that are named, where there is no libFuzzer. */
#include <dirent.h>
#include <limits.h>
#include <sys/stat.h>

#include "tests/fuzz/fuzz.h"

static void run_file(const char *path)
{
    struct stat status;
    FILE *file = fopen(path, "rb");

    if (file == NULL || fstat(fileno(file), &status) < 0) {
        perror(path);
        exit(1);
    }
    size_t length = (size_t)status.st_size;
    uint8_t *bytes = malloc(length == 0 ? 1 : length); /* exactly the size, for the sanitizers */
    if (bytes == NULL || fread(bytes, 1, length, file) != length) {
        perror(path);
        exit(1);
    }
    (void)fclose(file);
    (void)LLVMFuzzerTestOneInput(bytes, length);
    free(bytes);
}

static int run_folder(const char *folder)
{
    int n = 0;
    DIR *directory = opendir(folder);

    if (directory == NULL) {
        perror(folder);
        exit(1);
    }
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        char path[PATH_MAX];
        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        run_file(path);
        n++;
    }
    (void)closedir(directory);
    return n;
}

int main(int argc, char **argv)
{
    int n = 0;

    (void)LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++)
        n += run_folder(argv[i]);
    (void)printf("%d inputs\n", n);
    return n > 0 ? 0 : 1; /* a corpus that is not there must not pass */
}
