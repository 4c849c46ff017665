// Package inode holds the facts about files that every file gate stands on:
// statx(2) of an object with its attributes, links, ACLs, and the walk along a
// path as the kernel makes it (fs/namei.c:link_path_walk).
package inode
