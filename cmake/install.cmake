# Installs the library, its headers, the program and the package files behind find_package(fntk). Every path is
# relative to the prefix, so the installed tree can be moved.
include(CMakePackageConfigHelpers)
set(FNTK_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/fntk)

install(TARGETS fntk EXPORT fntkTargets
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/fntk DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN *.hpp)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

if(FNTK_BUILD_PROGRAM)
    file(RELATIVE_PATH FNTK_FROM_BIN_TO_LIB ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})
    set_target_properties(fntk_program PROPERTIES INSTALL_RPATH $ORIGIN/${FNTK_FROM_BIN_TO_LIB})
    install(TARGETS fntk_program RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

install(EXPORT fntkTargets NAMESPACE fntk:: DESTINATION ${FNTK_PACKAGE_DIR})
get_target_property(FNTK_TYPE fntk TYPE)
if(FNTK_TYPE STREQUAL STATIC_LIBRARY)
    set(FNTK_IS_STATIC TRUE)
else()
    set(FNTK_IS_STATIC FALSE)
endif()
configure_package_config_file(cmake/fntkConfig.cmake.in ${PROJECT_BINARY_DIR}/fntkConfig.cmake
    INSTALL_DESTINATION ${FNTK_PACKAGE_DIR} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/fntkConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/fntkConfig.cmake ${PROJECT_BINARY_DIR}/fntkConfigVersion.cmake
              ${PROJECT_SOURCE_DIR}/cmake/FindFntkBLAS.cmake
    DESTINATION ${FNTK_PACKAGE_DIR})
