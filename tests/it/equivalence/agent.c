/* Sends its standard input to the SSH agent, and writes the agent's response, without its length prefix, to stdout. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

int main(void) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  const char *path = getenv("SSH_AUTH_SOCK");
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (fd < 0 || path == NULL || strlen(path) >= sizeof address.sun_path) return 1;
  strcpy(address.sun_path, path);
  if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) return 2;
  FILE *agent = fdopen(fd, "r+");
  int byte;
  while ((byte = getchar()) != EOF) fputc(byte, agent);
  if (fflush(agent) != 0) return 3;
  unsigned long length = 0;
  for (int i = 0; i < 4; i++) {
    if ((byte = fgetc(agent)) == EOF) return 4;
    length = length << 8 | (unsigned long)byte;
  }
  while (length-- > 0) {
    if ((byte = fgetc(agent)) == EOF) return 5;
    putchar(byte);
  }
  return fflush(stdout) != 0;
}
