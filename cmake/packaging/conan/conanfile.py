"""Conan 2 recipe. From the project's folder: conan create cmake/packaging/conan"""
import pathlib
import re

from conan import ConanFile
from conan.tools.cmake import CMake, CMakeToolchain
from conan.tools.files import copy
from conan.tools.layout import basic_layout

project = pathlib.Path(__file__).resolve().parent.parent.parent.parent


class Ddpm(ConanFile):
    name = "ddpm"
    description = "Denoising diffusion probabilistic models on the CPU, header-only"
    license = "MIT"
    topics = ("diffusion", "machine-learning", "simd", "header-only")
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    options = {"io": [True, False]}  # readers and writers of files, the target ddpm::io
    default_options = {"io": True}

    def set_version(self):
        numbers = re.findall(r"#define DDPM_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)",
                             (project / "include/ddpm/version.hpp").read_text())
        self.version = ".".join(numbers)

    def export_sources(self):
        for pattern in ("CMakeLists.txt", "LICENSE", "include/*", "cmake/*"):
            copy(self, pattern, str(project), self.export_sources_folder, excludes="cmake/packaging/*")

    def layout(self):
        basic_layout(self)

    def requirements(self):
        self.requires("eigen/[>=3.4 <6]", transitive_headers=True)
        self.requires("xsimd/[>=8.1]", transitive_headers=True)
        if self.options.io:
            self.requires("nlohmann_json/[>=3.11]", transitive_headers=True)
            self.requires("stb/[*]", transitive_headers=True)
            self.requires("zlib/[>=1.2.11 <2]", transitive_headers=True)

    def package_id(self):
        self.info.clear()

    def generate(self):
        toolchain = CMakeToolchain(self)
        for programs in ("TESTS", "EXAMPLES", "BENCH"):
            toolchain.cache_variables[f"DDPM_BUILD_{programs}"] = False
        for option in "FETCH", "MPI":
            toolchain.cache_variables[f"DDPM_{option}"] = False
        toolchain.generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()

    def package(self):
        CMake(self).install()
        copy(self, "LICENSE", self.source_folder, str(pathlib.Path(self.package_folder) / "licenses"))

    def package_info(self):
        # find_package(ddpm) reads the package's own files.
        self.cpp_info.set_property("cmake_find_mode", "none")
        self.cpp_info.builddirs = ["lib/cmake/ddpm"]
        self.cpp_info.bindirs = self.cpp_info.libdirs = []
