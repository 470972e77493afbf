// SPDX-License-Identifier: MIT
// Lets Azurite keep what it has answered through kill -9: its two indexes, which it writes every five
// seconds, are written before each answer to a request that changed something.
//
//	node -r ./azurite_keep.js .../azurite/dist/src/blob/main.js --location DIR ...
"use strict";
const fs = require("fs");
const http = require("http");
const need = require("module").createRequire(process.argv[1]);
const Loki = need("lokijs");

const indexes = [];
Loki.prototype.autosaveEnable = function () {
	indexes.push(this);
	// The one of the extents first: the other one names what is in it.
	indexes.sort((a, b) => b.filename.includes("extent") - a.filename.includes("extent"));
};

function save() {
	// Both as they are now: nothing else runs before all is written.
	for (const db of indexes) {
		fs.writeFileSync(db.filename + ".new", db.serialize());
		fs.renameSync(db.filename + ".new", db.filename);
	}
}

const end = http.ServerResponse.prototype.end;
http.ServerResponse.prototype.end = function (...args) {
	if (!["GET", "HEAD"].includes(this.req.method)) save();
	return end.apply(this, args);
};
