/* A command that only says that it was run: a line of /trace with its words, each ended by a NUL, and a mark. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int count, char **words)
{
	static char line[65536];
	size_t size = 0;

	for (int i = 0; i < count; i++) {
		size_t length = strlen(words[i]) + 1;
		if (size + length + 1 > sizeof(line))
			break;
		memcpy(line + size, words[i], length);
		size += length;
	}
	line[size++] = 30; /* a separator that no script may hold */
	int trace = open("/trace", O_WRONLY | O_APPEND);
	if (trace < 0 || write(trace, line, size) < 0)
		return 99;
	close(trace); /* it may be our standard output, if a script closed that */
	for (int i = 1; i < count; i++) /* what a substitution gets */
		printf("%s%s", words[i], i + 1 < count ? " " : "\n");
	return strstr(words[0], "no") == words[0];
}
