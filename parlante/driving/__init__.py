"""Motion of one face put onto others: videos and motion files in, the public channels out."""
