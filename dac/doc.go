// Package dac knows discretionary access control: owner, mode, ACL, sticky
// directories, protected links (fs/namei.c, fs/attr.c, fs/posix_acl.c). Pure
// predicates are named after the kernel's functions and take values; gates
// read facts and find the words.
package dac
