/*
 * A client of a listener whose packets are lines: line_client PORT TEXT... sends each TEXT as a line
 * over TCP to this machine and prints the line that comes back. It ends with 1 if none comes within
 * five seconds.
 */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static int dial(const char *port)
{
	struct sockaddr_in to;
	struct timeval limit = {5, 0};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	memset(&to, 0, sizeof(to));
	to.sin_family = AF_INET;
	to.sin_port = htons((unsigned short)atoi(port));
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0) {
		return -1;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static int ask(FILE *link, int fd, const char *text)
{
	char line[4096];
	int n = snprintf(line, sizeof(line), "%s\n", text);

	if (n < 0 || (size_t)n >= sizeof(line) || write(fd, line, (size_t)n) != n) {
		return -1;
	}
	if (!fgets(line, sizeof(line), link)) {
		return -1;
	}
	return fputs(line, stdout) < 0 ? -1 : 0;
}

int main(int argc, char **argv)
{
	int fd = argc > 2 ? dial(argv[1]) : -1;
	FILE *link = fd < 0 ? NULL : fdopen(fd, "r");

	if (!link) {
		fprintf(stderr, "usage: line_client PORT TEXT... (or nobody listens there)\n");
		return 2;
	}
	for (int i = 2; i < argc; i++) {
		if (ask(link, fd, argv[i]) != 0) {
			fprintf(stderr, "line_client: no answer to \"%s\"\n", argv[i]);
			return 1;
		}
	}
	fclose(link);
	return 0;
}
